// SPDX-License-Identifier: GPL-2.0-or-later
/* The balancer: every packet that an interface receives, from parsing to the next hop.
 *
 * bcc rewrites map accesses only in the file it is given, so the headers below are joined with
 * this one into a single text before it compiles (plugins/module_utils/compiler.py).
 *
 * Set by -D: PIN_DIR, where the maps are pinned (absent: they are not); TICKS_PER_SECOND of the
 * kernel; and the features that a service in use needs: WITH_MAGLEV, WITH_JHASH, WITH_ANY_PORT.
 */
#include "maps.h"
#include "counters.h"
#include "checksum.h"
#include "hash.h"
#include "packet.h"
#include "service.h"
#include "backend.h"
#include "nexthop.h"
#include "encap.h"

int l4lb(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct nexthop nexthop;
	struct service *service;
	struct backend *backend;
	struct backend_cpu *cpu;
	enum drop defect;
	__u32 number;
	int verdict;

	if (parse(ctx, &packet) < 0)
		return XDP_PASS;
	defect = packet.defect;
	if (defect)
		return service_owns_address(&packet) ? drop(defect) : XDP_PASS;

	service = find_service(&packet);
	if (!service)
		return XDP_PASS;

	number = pick_backend(service, &packet);
	backend = find_backend(number);
	cpu = find_backend_cpu(number);
	if (!number || !backend || !cpu)
		return drop(DROP_NO_BACKEND);

	verdict = find_nexthop(ctx, &packet, backend, cpu, &nexthop);
	if (verdict != GO_ON)
		return verdict;

	verdict = encapsulate(ctx, &packet, backend, &nexthop);
	if (verdict != GO_ON)
		return verdict;

	count(service->id, cpu, frame_length(ctx));
	return transmit(ctx, &nexthop);
}
