/*
 * date - dates as RFC 5322 3.3 writes them.
 *
 * strftime() would write names of days and months in the locale's language.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mail/date.h"

/* The last day of the year 9999.  localtime_r() fails only where a year does not
 * fit an int, so up to here it does not. */
#define SECONDS_MAX UINT64_C(253402214400)

const char *
date_format(char text[DATE_MAX], uint64_t unix_seconds)
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)(unix_seconds < SECONDS_MAX ? unix_seconds : SECONDS_MAX);
	struct tm tm;
	int minutes;

	localtime_r(&t, &tm);
	minutes = (int)(tm.tm_gmtoff / 60);
	snprintf(text, DATE_MAX, "%s, %d %s %04d %02d:%02d:%02d %c%02d%02d", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    minutes < 0 ? '-' : '+', abs(minutes) / 60, abs(minutes) % 60);
	return text;
}
