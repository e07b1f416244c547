/* Cuts a file system off: nothing that is not on the disk now will ever be. No other language here
 * may make this call without `unsafe`. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define EXT4_IOC_SHUTDOWN _IOR('X', 125, unsigned int)
#define WITHOUT_FLUSHING_THE_LOG 2

int main(int argc, char **argv)
{
	unsigned int how = WITHOUT_FLUSHING_THE_LOG;
	int dir = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;

	if (dir < 0 || ioctl(dir, EXT4_IOC_SHUTDOWN, &how) < 0) {
		perror("cut");
		return 1;
	}
	return 0;
}
