/*
 * version - what -V and POP3's IMPLEMENTATION say.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define RESTANTE_VERSION "0.1.0"

#endif
