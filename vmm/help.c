/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/help.c - see help.h.  Texts only; at most 79 columns. */
#include "vmm/help.h"

#include <errno.h>
#include <string.h>

static const char overview[] =
	"godwit - run virtual machines that can be moved, on Linux/KVM\n"
	"\n"
	"  godwit run -k KERNEL [option...]   run a virtual machine\n"
	"  godwit check [--json]              say what this host can do\n"
	"  godwit version                     print the version\n"
	"  godwit help [VERB]                 this text, or that of VERB\n"
	"\n"
	"First VM:  godwit run -k kernels/hello\n"
	"The manual is godwit(1).\n";

static const char run_text[] =
	"usage: godwit run -k KERNEL [option...]\n"
	"\n"
	"What boots\n"
	"  -k, --kernel FILE        bzImage, ELF with a PVH note, or ELF64 with\n"
	"                           the Linux 64-bit entry\n"
	"  -i, --initrd FILE        initial RAM disk, handed over as it is\n"
	"  -a, --append TEXT        kernel command line\n"
	"      --boot ENTRY         auto, pvh, linux64 or linux32 (auto)\n"
	"\n"
	"The machine\n"
	"  -c, --cpus N             vCPUs (1)\n"
	"  -m, --memory SIZE[,backing=anon|memfd|hugetlb][,thp=on|off]\n"
	"                           RAM in bytes, or with K, M, G or T (256M);\n"
	"                           backing (anon), transparent huge pages (off)\n"
	"  -d, --disk path=FILE|fd=N[,ro][,direct][,serial=ID][,iothread=K]\n"
	"                           add a raw disk, up to 8; write a comma in\n"
	"                           FILE twice; K is its I/O thread, from 0 on\n"
	"                           (in turn)\n"
	"      --rng                add an entropy source\n"
	"      --serial WHERE       stdio, file=FILE or none (stdio)\n"
	"      --console WHERE      virtio console, likewise (none)\n"
	"      --pit                add an i8254 timer, for kernels that want one;\n"
	"                           such a VM closes more slowly\n"
	"      --machine HOW        how the guest learns of its devices: acpi,\n"
	"                           fdt or cmdline (acpi)\n"
	"      --debug-exit         port 0xf4 ends the run with status 2v+1\n"
	"\n"
	"The run\n"
	"      --name NAME          for messages (godwit)\n"
	"      --no-reboot          end when the guest asks for a reset\n"
	"      --loop BACKEND       auto, uring, epoll or poll (auto)\n"
	"      --iothread N         threads for disks, 0 to 8 (0: the main loop\n"
	"                           serves all)\n"
	"      --trace N            keep the last N events of each loop; SIGUSR1\n"
	"                           prints them, and so does a crash of godwit\n"
	"      --dry-run            print the configuration as JSON, run nothing\n"
	"      --dump-dtb FILE      write the device tree, run nothing\n"
	"  -v, --verbose            say more; twice: debugging\n"
	"\n"
	"On the terminal: Ctrl-A x leaves, Ctrl-A h helps.\n"
	"\n"
	"Exit status\n"
	"  0  the guest powered off, or you left with Ctrl-A x\n"
	"  1  the host or the configuration is at fault\n"
	"  2  usage\n"
	"  3  the guest panicked or crashed\n"
	"  4  the guest asked for a reset, with --no-reboot\n"
	"  (v << 1 | 1) & 255  the guest wrote v to port 0xf4, with --debug-exit\n"
	"  128 + N  ended by signal N: 129 HUP, 130 INT, 131 QUIT, 143 TERM\n";

static const char check_text[] =
	"usage: godwit check [--json]\n"
	"\n"
	"Says what this host offers, what each part is for and what is lost\n"
	"without it; measures whether guest kernel code runs natively.\n"
	"\n"
	"Exit status: 0 if a guest can run, else 1; 2 usage.\n";

static const char version_text[] = "usage: godwit version\n"
				   "\n"
				   "Prints \"godwit \" and the version.\n";

static const char help_text[] = "usage: godwit help [VERB]\n"
				"\n"
				"VERB: run, check, version or help.\n";

int help_print(const char *verb, FILE *out)
{
	const char *text = NULL;

	if (!verb)
		text = overview;
	else if (strcmp(verb, "run") == 0)
		text = run_text;
	else if (strcmp(verb, "check") == 0)
		text = check_text;
	else if (strcmp(verb, "version") == 0)
		text = version_text;
	else if (strcmp(verb, "help") == 0)
		text = help_text;
	if (!text)
		return -EINVAL;
	return fputs(text, out) == EOF || fflush(out) == EOF ? -EIO : 0;
}
