/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_net.c - what stands after --net. */
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/testing.h"
#include "vmm/error.h"

static struct config cfg;
static struct error err;

static int setup(void **state)
{
	config_init(&cfg);
	return 0;
}

static int teardown(void **state)
{
	config_fini(&cfg);
	return 0;
}

static int parse(const char *a, const char *c)
{
	const char *words[] = {
		"-k", "kernel", "--iothread=2", "-n", a, "-n", c};
	char *argv[7];
	unsigned i;

	for (i = 0; i < 7; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	config_fini(&cfg);
	config_init(&cfg);
	return config_parse_run(&cfg, c ? 7 : 5, argv, &err);
}

static void accept(const char *value)
{
	if (parse(value, NULL) < 0)
		fail_msg("%s", err.text);
}

static void user_mode_and_its_ports(void **state)
{
	const struct config_forward *f = cfg.net[0].forward;

	accept("user");
	assert_int_equal(cfg.nets, 1);
	assert_int_equal(cfg.net[0].kind, CONFIG_NET_USER);
	assert_int_equal(cfg.net[0].queues, 1);
	assert_int_equal(cfg.net[0].network, 0x0a000200);
	assert_int_equal(cfg.net[0].prefix, 24);
	accept("user,hostfwd=tcp:8080-:80,hostfwd=udp:0.0.0.0:53-10.0.2.9:5353,"
	       "hostfwd=tcp:127.0.0.2:1-2,net=192.168.0.0/16");
	assert_int_equal(cfg.net[0].forwards, 3);
	assert_false(f[0].udp);
	assert_int_equal(f[0].host_addr, 0x7f000001);
	assert_int_equal(f[0].host_port, 8080);
	assert_int_equal(f[0].guest_addr, 0);
	assert_int_equal(f[0].guest_port, 80);
	assert_true(f[1].udp);
	assert_int_equal(f[1].host_addr, 0);
	assert_int_equal(f[1].guest_addr, 0x0a000209);
	assert_int_equal(f[1].guest_port, 5353);
	assert_int_equal(f[2].host_addr, 0x7f000002);
	assert_int_equal(f[2].guest_port, 2);
	assert_int_equal(cfg.net[0].network, 0xc0a80000);
	assert_int_equal(cfg.net[0].prefix, 16);
}

static void taps_by_name_and_by_fd(void **state)
{
	accept("tap=tap0,queues=4,offload=off");
	assert_int_equal(cfg.net[0].kind, CONFIG_NET_TAP);
	assert_string_equal(cfg.net[0].tap, "tap0");
	assert_int_equal(cfg.net[0].queues, 4);
	assert_true(cfg.net[0].plain);
	accept("fd=3,fd=4");
	assert_int_equal(cfg.net[0].kind, CONFIG_NET_FD);
	assert_int_equal(cfg.net[0].queues, 2);
	assert_int_equal(cfg.net[0].fd[0], 3);
	assert_int_equal(cfg.net[0].fd[1], 4);
}

static void what_all_have_in_common(void **state)
{
	static const uint8_t mac[6] = {2, 0xab, 0, 0, 0, 1};

	accept("tap=t,mac=02:aB:00:00:00:01,mtu=9000,link=down,rx-bw=10M,"
	       "tx-bw=1K,rx-pps=5,tx-pps=6,iothread=1");
	assert_memory_equal(cfg.net[0].mac, mac, 6);
	assert_int_equal(cfg.net[0].mtu, 9000);
	assert_true(cfg.net[0].link_down);
	assert_int_equal(cfg.net[0].rx_bytes, 10 << 20);
	assert_int_equal(cfg.net[0].tx_bytes, 1024);
	assert_int_equal(cfg.net[0].rx_frames, 5);
	assert_int_equal(cfg.net[0].tx_frames, 6);
	assert_int_equal(cfg.net[0].iothread, 1);
	assert_int_equal(parse("user", "tap=t"), 0);
	assert_int_equal(cfg.net[0].iothread, 0);
	assert_int_equal(cfg.net[1].iothread, 1);
}

static void a_mac_is_made_of_name_and_number(void **state)
{
	uint8_t first[6];

	assert_int_equal(parse("user", "user"), 0);
	memcpy(first, cfg.net[0].mac, 6);
	assert_int_equal(first[0], 2);
	assert_memory_not_equal(first, cfg.net[1].mac, 6);
	assert_int_equal(parse("tap=t", "user,mac=02:00:00:00:00:01"), 0);
	assert_memory_equal(first, cfg.net[0].mac, 6);
	assert_int_equal(cfg.net[1].mac[5], 1);
}

static void what_is_wrong_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *value, *reason;
	} bad[] = {
		{"", "is not understood"},
		{"usr", "is not understood"},
		{"hostfwd=tcp:1-:2", "is not understood"},
		{"user,tap=t", "exclude each other"},
		{"tap=", "cannot be the name"},
		{"tap=a/b", "cannot be the name"},
		{"tap=0123456789abcdef", "cannot be the name"},
		{"fd=2", "not an inherited"},
		{"fd=3,fd=3", "given twice"},
		{"fd=3,fd=4,fd=5,fd=6,fd=7", "too many fds"},
		{"fd=3,queues=2", "one fd= for each"},
		{"tap=t,queues=0", "not a number of queues"},
		{"tap=t,queues=5", "not a number of queues"},
		{"user,queues=2", "for tap and fd only"},
		{"user,offload=on", "for tap and fd only"},
		{"tap=t,hostfwd=tcp:1-:2", "for user only"},
		{"tap=t,net=10.0.0.0/24", "for user only"},
		{"user,hostfwd=tcp:0-:80", "hostfwd"},
		{"user,hostfwd=tcp:80", "hostfwd"},
		{"user,hostfwd=sctp:1-:2", "hostfwd"},
		{"user,hostfwd=tcp:1.2.3:1-:2", "hostfwd"},
		{"user,hostfwd=tcp:1-:65536", "hostfwd"},
		{"user,hostfwd=tcp:1-x:5", "hostfwd"},
		{"user,net=10.0.2.1/24", "host bits"},
		{"user,net=10.0.2.0/28", "not a network"},
		{"user,net=10.0.2.0", "not a network"},
		{"user,mac=02:00:00:00:00", "not an address"},
		{"user,mac=02:00:00:00:00:001", "not an address"},
		{"user,mac=+2:00:00:00:00:01", "not an address"},
		{"user,mac=01:00:00:00:00:01", "of a group"},
		{"user,mac=00:00:00:00:00:00", "zero"},
		{"user,mtu=67", "impossible"},
		{"user,mtu=65536", "impossible"},
		{"user,link=sideways", "give up or down"},
		{"user,rx-bw=0", "not a rate"},
		{"user,tx-pps=fast", "not a rate"},
		{"user,iothread=8", "not the number"},
		{"user,iothread=2", "not there"},
		{"user,color=red", "is not understood"},
	};
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].value, NULL), -EINVAL);
		if (!strstr(err.text, bad[i].reason) ||
			strncmp(err.text, "--net ", 6) != 0)
			fail_msg("%s: %s", bad[i].value, err.text);
	}
}

static void two_networks_share_nothing(void **state)
{
	assert_int_equal(parse("tap=t", "tap=t"), -EINVAL);
	assert_int_equal(parse("fd=3", "fd=4,fd=3"), -EINVAL);
	assert_int_equal(parse("user,mac=02:00:00:00:00:01",
				 "user,mac=02:00:00:00:00:01"),
		-EINVAL);
	assert_int_equal(parse("user", "user"), 0);
	assert_int_equal(parse("tap=t", "tap=u"), 0);
}

static void the_json_has_guest_and_host_apart(void **state)
{
	char *text = NULL, *guest, *host;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(parse("user,hostfwd=tcp:8080-:80,mtu=1400",
				 "tap=tap7,mac=02:00:00:00:00:07,queues=2"),
		0);
	assert_int_equal(config_print_json(&cfg, f), 0);
	fclose(f);
	guest = strstr(text, "\"guest\"");
	host = strstr(text, "\"host\": {");
	assert_true(guest && host && guest < host);
	*host++ = '\0';
	assert_non_null(strstr(guest, "\"mac\": \"02:00:00:00:00:07\""));
	assert_non_null(strstr(guest, "\"mtu\": 1400"));
	assert_non_null(strstr(guest, "\"queues\": 2"));
	assert_null(strstr(guest, "tap7"));
	assert_null(strstr(guest, "8080"));
	assert_non_null(strstr(host, "\"tap\": \"tap7\""));
	assert_non_null(strstr(host, "\"host_port\": 8080"));
	free(text);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(user_mode_and_its_ports),
		T(taps_by_name_and_by_fd),
		T(what_all_have_in_common),
		T(a_mac_is_made_of_name_and_number),
		T(what_is_wrong_is_refused_with_a_reason),
		T(two_networks_share_nothing),
		T(the_json_has_guest_and_host_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
