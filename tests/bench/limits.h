/*
 * limits - what the machine can do without a mail server: the disk, the wire, and answers
 * that keep nothing.  See load.c for the options.  Each returns the exit code.
 */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

int sync_main(char **args);       /* a 4 KiB append for each fdatasync */
int sequential_main(char **args); /* 10 x 64 KiB for each fdatasync */
int sendfile_main(char **args);   /* a cached file to a reader over loopback */
int tls_main(char **args);        /* SSL_write to a reader over loopback */
int roundtrip_main(char **args);  /* a short line there and back */
int burn_main(char **args);       /* a share of the processors, and nothing else */
int answer_main(char **args);     /* an SMTP or POP3 server that keeps nothing */

#endif
