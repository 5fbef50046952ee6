/* nnp: setuid root in its image; tells whether the setuid bit took effect (no_new_privs forbids it). */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("Effective uid: %d\n", (int)geteuid());
	return 0;
}
