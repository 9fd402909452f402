/*
 * prompt - what an administrator types.
 */
#ifndef POP_ADMIN_PROMPT_H
#define POP_ADMIN_PROMPT_H

#include <stdbool.h>

#include "base/strbuf.h"

/* A new password: asked for twice, without echo, at a terminal; else the first line of
 * standard input.  The caller wipes it with prompt_wipe().  0, or -1 after saying why. */
int prompt_password(struct strbuf *password);
void prompt_wipe(struct strbuf *password);

/* True when the answer at the terminal is yes, when standard input is no terminal, or
 * when `yes` says so beforehand. */
bool prompt_confirm(bool yes, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
