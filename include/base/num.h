/*
 * num - numbers, sizes, ages and times as people and protocols write them.
 *
 * Reading is strict: the whole text must be the number, without sign, blank
 * or leading plus; what is out of bounds is refused, never clipped.
 *
 * Thread: any.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

/* No limit: a quota of `none`, an age of `never`. */
#define NUM_UNLIMITED UINT64_MAX

/* The greatest size and age that is read: what a database column holds. */
#define NUM_MAX ((uint64_t)INT64_MAX)

/* Decimal digits only.  0, or -1 when `len` octets at `text` are not a number
 * in [min, max]; *out_r is changed on success alone.  Leading zeros are taken. */
int num_parse_u64(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *out_r);

/* "512", "20K", "1G" (1024-based, upper or lower case), in octets. */
int num_parse_size(const char *text, uint64_t *octets_r);

/* "90s", "10m", "2h", "30d", "4w"; a bare "0" is taken; in seconds. */
int num_parse_age(const char *text, uint64_t *seconds_r);

/* Room for any text that the functions below write, NUL included. */
#define NUM_TEXT_MAX 32

/* Up to 20 decimal digits and a NUL; returns how many digits.  A printf() costs ten times as
 * much. */
size_t num_format_u64(char *text, uint64_t n);

/* The shortest exact form that num_parse_size() reads back: 1536 is "1536",
 * 2048 is "2K"; NUM_UNLIMITED is "none". */
const char *num_format_size(char text[NUM_TEXT_MAX], uint64_t octets);

/* For people: three figures and a unit, "1.46G". */
const char *num_format_size_short(char text[NUM_TEXT_MAX], uint64_t octets);

/* The shortest exact form of an age; NUM_UNLIMITED is "never". */
const char *num_format_age(char text[NUM_TEXT_MAX], uint64_t seconds);

/* RFC 3339 in UTC, whole seconds: "2026-11-24T03:11:17Z"; from the year 10000 on
 * the last second of 9999. */
const char *num_format_time(char text[NUM_TEXT_MAX], uint64_t unix_seconds);

/* Lower-case hexadecimal: writes 2*len digits and a NUL. */
void num_format_hex(char *text, const void *buf, size_t len);

/* Exactly 2*len hexadecimal digits, either case; 0 or -1. */
int num_parse_hex(const char *text, size_t text_len, void *buf, size_t len);

/* Puts n numbers, which may be none, in order, the least first.  What is in order, as ids mostly
 * are, costs one look at each. */
void num_sort(uint64_t *list, size_t n);

#endif
