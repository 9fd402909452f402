/*
 * pop-admin - does everything that an administrator does.
 */
#include "options.h"

int
main(int argc, char **argv)
{
	return options_run(argc, argv);
}
