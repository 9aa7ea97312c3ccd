/* Stopping on purpose: SIGINT and SIGTERM ask the work to finish its step and save; a second SIGINT ends at once. */
#ifndef VT_CLI_SIGNALS_H
#define VT_CLI_SIGNALS_H

/* From now on the two signals are remembered instead of ending the program. */
void vt_signals_catch(void);

/* The signal that asked to stop, or 0. Fits the `stop` of train and eval. */
int vt_signals_stop(void);

extern const int vt_signals_terminate; /* SIGTERM */

#endif
