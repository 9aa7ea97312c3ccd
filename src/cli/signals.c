/* The handler keeps the number of the first signal, and gives the second SIGINT back its usual meaning. */
#include "cli/signals.h"

#include <signal.h>
#include <stddef.h>

const int vt_signals_interrupt = SIGINT;

static volatile sig_atomic_t caught;

static void remember(int number)
{
    if (caught && number == SIGINT) {
        (void)signal(SIGINT, SIG_DFL);
        (void)raise(SIGINT);
    } else if (!caught) {
        caught = number;
    }
}

void vt_signals_catch(void)
{
    struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL); /* the terminal is gone: save as for SIGTERM */
    (void)signal(SIGXFSZ, SIG_IGN);         /* a file that may not grow is an error of the write, with its sentence */
    (void)signal(SIGPIPE, SIG_IGN);         /* nobody reads the progress any more: no reason to lose the training */
}

int vt_signals_stop(void)
{
    return (int)caught;
}
