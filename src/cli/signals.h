/* Stopping on purpose: SIGINT, SIGTERM and SIGHUP ask the work to finish its step and save; a second SIGINT ends at once. */
#ifndef VT_CLI_SIGNALS_H
#define VT_CLI_SIGNALS_H

/* From now on they are remembered instead of ending the program, and a reader of our output who is gone (SIGPIPE) ends nothing. */
void vt_signals_catch(void);

/* The signal that asked to stop, or 0. Fits the `stop` of train and eval. */
int vt_signals_stop(void);

extern const int vt_signals_interrupt; /* SIGINT */

#endif
