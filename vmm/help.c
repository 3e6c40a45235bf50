/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/help.c - see help.h.  Texts only; at most 79 columns. */
#include "vmm/help.h"

#include <errno.h>
#include <string.h>

static const char overview[] =
	"godwit - run virtual machines that can be moved, on Linux/KVM\n"
	"\n"
	"  godwit run -k KERNEL [option...]   run a virtual machine\n"
	"  godwit receive ADDR [option...]    wait for one that is moved here\n"
	"  godwit restore FILE [option...]    run one from its snapshot\n"
	"  godwit check [--json]              say what this host can do\n"
	"\n"
	"A running VM is reached by the name that --name gave it, or by the path\n"
	"of its control socket (with a '/').  --json prints what it answers.\n"
	"  godwit info NAME                   its state and figures\n"
	"  godwit pause|resume|reset NAME     stop the guest; run on; start again\n"
	"  godwit stop NAME                   end the VM\n"
	"  godwit cpu set NAME N              plug or unplug vCPUs\n"
	"  godwit throttle NAME PERCENT       take a part of its vCPUs' time\n"
	"  godwit balloon NAME [SIZE]         ask it to give memory back\n"
	"  godwit balloon-stats NAME          what it says of its memory\n"
	"  godwit disks NAME                  its disks, limits and figures\n"
	"  godwit disk-resize NAME DISK       another size for a disk\n"
	"  godwit disk-throttle NAME DISK L   other limits for a disk\n"
	"  godwit migrate NAME ADDR           move it to another process\n"
	"  godwit postcopy NAME               let it go now, memory follows\n"
	"  godwit snapshot NAME FILE          write it to a file\n"
	"  godwit jobs NAME                   what goes on; cancel NAME JOB ends it\n"
	"  godwit command NAME CMD [JSON]     any command of the control socket\n"
	"\n"
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
	"             [,cache=writeback|writethrough|unsafe][,queues=N]\n"
	"             [,discard=off][,werror=report|stop]\n"
	"                           add a raw disk, up to 8; write a comma in\n"
	"                           FILE twice; K is its I/O thread, from 0 on\n"
	"                           (in turn); werror=stop pauses the guest when\n"
	"                           the image finds no room.  Limits a second:\n"
	"                           ,iops=N ,bps=BYTES, for reads or writes ,iops-rd=\n"
	"                           ,bps-wr= ..., at once ,iops-burst= ,bps-rd-burst=\n"
	"                           ...; ,group=NAME shares those of the first disk\n"
	"                           of that group\n"
	"  -n, --net user[,hostfwd=tcp|udp:[ADDR:]PORT-[GADDR]:GPORT]...[,net=A/N]\n"
	"      --net tap=NAME|fd=N[,queues=N][,offload=off]\n"
	"                           add a network, up to 4: without privileges, the\n"
	"                           guest behind 10.0.2.2, or a tap device.  Also\n"
	"                           for both: ,mac=M ,mtu=N ,link=down ,iothread=K\n"
	"                           and at most so much a second to and from the\n"
	"                           guest: ,rx-bw=BYTES ,tx-bw= ,rx-pps=FRAMES\n"
	"                           ,tx-pps=\n"
	"      --balloon[=[SIZE][,deflate-on-oom=on|off][,stats=SECONDS]\n"
	"                 [,hinting=on|off][,reporting=on|off]]\n"
	"                           add a balloon that asks the guest to give SIZE\n"
	"                           back to the host; with reporting it gives back\n"
	"                           what it does not use by itself\n"
	"      --vsock path=FILE[,cid=N][,max-conns=N][,iothread=K]\n"
	"                           add a socket device: a client that connects to\n"
	"                           FILE says CONNECT PORT; the guest's connections\n"
	"                           to CID 2 go to the sockets FILE_PORT\n"
	"      --rng[=bps=BYTES[,bps-burst=BYTES]]\n"
	"                           add an entropy source, of at most so many bytes\n"
	"                           a second\n"
	"      --serial WHERE       stdio, file=FILE or none (stdio)\n"
	"      --console WHERE      virtio console, likewise (none)\n"
	"      --pit                add an i8254 timer, for kernels that want one;\n"
	"                           such a VM closes more slowly\n"
	"      --machine HOW        how the guest learns of its devices: acpi,\n"
	"                           fdt or cmdline (acpi)\n"
	"      --debug-exit         port 0xf4 ends the run with status 2v+1\n"
	"\n"
	"The run\n"
	"      --name NAME          for messages (godwit); opens a control socket\n"
	"                           of this name\n"
	"      --control FILE|none  the control socket at FILE, or none at all\n"
	"      --no-reboot          end when the guest asks for a reset\n"
	"      --loop BACKEND       auto, uring, epoll or poll (auto)\n"
	"      --iothread N         threads for disks, 0 to 8 (0: the main loop\n"
	"                           serves all)\n"
	"      --poll-us N          before it sleeps, a loop looks for up to N\n"
	"                           microseconds for more requests (32; 0: never)\n"
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

#define OVERRIDE_TEXT                                                              \
	"  --override WHAT=VALUE  a thing of this host's: disk0.path=FILE,\n"      \
	"                         disk0.fd=N, net0.tap=NAME, serial=file=FILE,\n"  \
	"                         console=.., kernel=FILE, name=.., control=..;\n" \
	"                         several\n"                                       \
	"  -v, --verbose          say more; twice: debugging\n"

static const char receive_text[] =
	"usage: godwit receive ADDR [option...]\n"
	"\n"
	"Waits at ADDR for a guest that `godwit migrate` sends, then runs it; the\n"
	"machine is the one that the source describes.\n"
	"\n"
	"ADDR: unix:PATH, tcp:HOST:PORT (port 0: any, see -v), fd:N[,M], or\n"
	"exec:COMMAND.\n"
	"\n" OVERRIDE_TEXT
	"  --timeout SECONDS      for a source to come (0: for ever)\n"
	"  --quiet-timeout SECONDS  without progress, then give up (10)\n"
	"  --no-postcopy          refuse migrations that may switch to postcopy\n"
	"\n"
	"Exit status: as of `godwit run`; 1 when the guest did not come.\n";

static const char restore_text[] =
	"usage: godwit restore FILE [option...]\n"
	"\n"
	"Runs the guest that `godwit snapshot` wrote to FILE.\n"
	"\n" OVERRIDE_TEXT
	"  --lazy                 run at once; memory is read as it is touched,\n"
	"                         the rest by and by\n"
	"  --paused               do not let it run yet (godwit resume)\n"
	"\n"
	"Exit status: as of `godwit run`.\n";

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
				"`godwit help` lists the verbs.\n";

/* ---- verbs that talk to a running VM ---- */

#define NAME_TEXT                                                                \
	"\nNAME is what --name gave the VM, or the path of its control socket\n" \
	"(with a '/').  --json prints the answer as JSON.\n"
#define STATUS_TEXT                                                               \
	"\nExit status: 0 when it was done; 1 when not, or when the connection\n" \
	"was lost; 2 usage.\n"
#define JOB_TEXT                                                                  \
	"It is waited for.  Ctrl-C asks for its end and waits on; Ctrl-C again\n" \
	"leaves it to itself, with status 130.  --json prints each event of it\n" \
	"as a line.\n"

static const char info_text[] =
	"usage: godwit info NAME [--json]\n"
	"\n"
	"Prints the state of the VM (running, paused, or where a move has got\n"
	"to), its vCPUs, memory, devices, event loops and migration.\n" NAME_TEXT
		STATUS_TEXT;

static const char pause_text[] =
	"usage: godwit pause NAME [--json]\n"
	"\n"
	"Stops the guest where it is; its clock stops, too.  Harmless when it is\n"
	"paused already.\n" NAME_TEXT STATUS_TEXT;

static const char resume_text[] =
	"usage: godwit resume NAME [--json]\n"
	"\n"
	"Lets a paused guest run on.\n" NAME_TEXT STATUS_TEXT;

static const char reset_text[] =
	"usage: godwit reset NAME [--json]\n"
	"\n"
	"Starts the guest again from power-on, whatever it does.\n" NAME_TEXT
		STATUS_TEXT;

static const char stop_text[] =
	"usage: godwit stop NAME [--json]\n"
	"\n"
	"Ends the VM at once, and returns when its name is free again.\n" NAME_TEXT
		STATUS_TEXT;

static const char cpu_text[] =
	"usage: godwit cpu set NAME N [--timeout MS] [--json]\n"
	"\n"
	"Plugs or unplugs vCPUs until N are present.  The guest is asked to give\n"
	"vCPUs back and may refuse, or not answer in MS milliseconds (10000).\n" JOB_TEXT
		NAME_TEXT STATUS_TEXT;

static const char throttle_text[] =
	"usage: godwit throttle NAME PERCENT [--json]\n"
	"\n"
	"Takes PERCENT (0 to 99) of the time of every vCPU.\n" NAME_TEXT
		STATUS_TEXT;

static const char balloon_text[] =
	"usage: godwit balloon NAME [SIZE] [--json]\n"
	"\n"
	"Asks the guest to give SIZE bytes (or with K, M, G) of its memory back to\n"
	"the host; 0: it has all of it again.  The guest decides, and takes its\n"
	"time; without SIZE this shows how far it is.  The VM was started with\n"
	"--balloon.\n" NAME_TEXT STATUS_TEXT;

static const char disks_text[] =
	"usage: godwit disks NAME [--json]\n"
	"\n"
	"Prints for each disk its size, limits and what it has done.\n" NAME_TEXT
		STATUS_TEXT;

static const char disk_resize_text[] =
	"usage: godwit disk-resize NAME DISK [SIZE] [--shrink] [--json]\n"
	"\n"
	"Makes the file of DISK (disk0, disk1 ...) SIZE bytes large, or looks\n"
	"again how large it or the block device is, and tells the guest.\n"
	"--shrink allows to cut off what is behind the new end.\n" NAME_TEXT
		STATUS_TEXT;

static const char disk_throttle_text[] =
	"usage: godwit disk-throttle NAME DISK LIMITS [--json]\n"
	"\n"
	"Gives DISK and the other disks of its group new limits in place of all\n"
	"they had: `none', or as in `godwit run --disk', for example\n"
	"iops=1000,bps-wr=10M,bps-wr-burst=100M.\n" NAME_TEXT STATUS_TEXT;

static const char balloon_stats_text[] =
	"usage: godwit balloon-stats NAME [--interval SECONDS] [--json]\n"
	"\n"
	"Shows what the guest said last of its memory, and how long ago.  Figures\n"
	"come every SECONDS; with 0 each call asks for those of the next one.  The\n"
	"VM was started with --balloon=stats=SECONDS.\n" NAME_TEXT STATUS_TEXT;

static const char jobs_text[] =
	"usage: godwit jobs NAME [--json]\n"
	"\n"
	"Lists what goes on in the VM and what ended lately: id, kind, status.\n" NAME_TEXT
		STATUS_TEXT;

static const char cancel_text[] =
	"usage: godwit cancel NAME JOB [--json]\n"
	"\n"
	"Asks a job to end.  Returns at once; `godwit jobs` shows its end.\n" NAME_TEXT
		STATUS_TEXT;

static const char command_text[] =
	"usage: godwit command NAME CMD [JSON]\n"
	"\n"
	"Sends any command of the control socket, with the object JSON as its\n"
	"arguments, and prints the answer.  `godwit command NAME commands` lists\n"
	"what there is.  A job is not waited for.\n" NAME_TEXT STATUS_TEXT;

static const char migrate_text[] =
	"usage: godwit migrate NAME ADDR [option...]\n"
	"\n"
	"Moves the running VM to the process that waits at ADDR (`godwit receive\n"
	"ADDR`): tcp:HOST:PORT, unix:PATH, fd:N or exec:COMMAND, as the VM's\n"
	"process sees them.\n"
	"\n"
	"      --postcopy WHEN      let the guest go before all memory is there:\n"
	"                           never, manual (godwit postcopy), after=N\n"
	"                           rounds, stalled or immediate\n"
	"      --max-downtime MS    goal in milliseconds\n"
	"      --bandwidth RATE     limit in bytes a second, or with K, M or G\n"
	"      --push-bandwidth RATE  the same for pages that follow a postcopy\n"
	"                           guest without having been asked for\n"
	"      --max-rounds N       then stop the guest whatever it costs\n"
	"      --timeout MS         give up after so long without progress\n"
	"      --timeline FILE      write samples of the run as JSON lines\n"
	"\n"
	"On a terminal one line shows how it goes on, else a line a second.\n" JOB_TEXT
		NAME_TEXT STATUS_TEXT;

static const char postcopy_text[] =
	"usage: godwit postcopy NAME [--json]\n"
	"\n"
	"Switches the migration that runs to postcopy now: the guest goes on at\n"
	"the destination and its memory follows.  migrate must have been given\n"
	"--postcopy with something other than never.\n" NAME_TEXT STATUS_TEXT;

static const char snapshot_text[] =
	"usage: godwit snapshot NAME FILE [--keep-paused | --stop] [--json]\n"
	"\n"
	"Stops the guest, writes all of it to FILE, and lets it run on, unless\n"
	"it is to stay paused or to end.  FILE is complete or not there.\n" JOB_TEXT
		NAME_TEXT STATUS_TEXT;

static const struct {
	const char *verb, *text;
} texts[] = {
	{"run", run_text},
	{"receive", receive_text},
	{"restore", restore_text},
	{"check", check_text},
	{"version", version_text},
	{"help", help_text},
	{"info", info_text},
	{"pause", pause_text},
	{"resume", resume_text},
	{"reset", reset_text},
	{"stop", stop_text},
	{"cpu", cpu_text},
	{"throttle", throttle_text},
	{"balloon", balloon_text},
	{"balloon-stats", balloon_stats_text},
	{"disks", disks_text},
	{"disk-resize", disk_resize_text},
	{"disk-throttle", disk_throttle_text},
	{"jobs", jobs_text},
	{"cancel", cancel_text},
	{"command", command_text},
	{"migrate", migrate_text},
	{"postcopy", postcopy_text},
	{"snapshot", snapshot_text},
};

int help_print(const char *verb, FILE *out)
{
	const char *text = verb ? NULL : overview;
	size_t i;

	for (i = 0; verb && i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(verb, texts[i].verb) == 0)
			text = texts[i].text;
	if (!text)
		return -EINVAL;
	return fputs(text, out) == EOF || fflush(out) == EOF ? -EIO : 0;
}
