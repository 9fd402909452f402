/*
 * syslog_kept - what a program under test gives to syslog(3): these stand in its place, under both
 * names that a compiler may call it by.
 */
#ifndef TESTS_LIB_SYSLOG_KEPT_H
#define TESTS_LIB_SYSLOG_KEPT_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Lines, each behind its priority: "6 event=x\n". */
static char syslog_kept[65536];

void syslog(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void __syslog_chk(int priority, int flag, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

__attribute__((format(printf, 2, 0))) static void
syslog_keep(int priority, const char *fmt, va_list ap)
{
	size_t used = strlen(syslog_kept);

	used += (size_t)snprintf(
	    syslog_kept + used, sizeof(syslog_kept) - used, "%d ", priority);
	used += (size_t)vsnprintf(syslog_kept + used, sizeof(syslog_kept) - used, fmt, ap);
	(void)snprintf(syslog_kept + used, sizeof(syslog_kept) - used, "\n");
}

void
syslog(int priority, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	syslog_keep(priority, fmt, ap);
	va_end(ap);
}

void
__syslog_chk(int priority, int flag, const char *fmt, ...)
{
	va_list ap;

	(void)flag;
	va_start(ap, fmt);
	syslog_keep(priority, fmt, ap);
	va_end(ap);
}

#endif
