/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Internet checksum (RFC 1071). */
#pragma once

/* The ones' complement of a sum of 16-bit words. The first addition of the
 * carries can carry again, so it is done twice. */
static __always_inline __u16 checksum_of_sum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}
