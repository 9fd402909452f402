/* deliver - messages by SMTP or LMTP: see deliver.c for its options.  Returns the exit code. */
#ifndef BENCH_DELIVER_H
#define BENCH_DELIVER_H

int deliver_main(char **args);

#endif
