#!/usr/bin/python3
"""The numbers of a comparison are read, judged and shown as they are."""
import json
import os
import sys
import unittest
import xml.dom.minidom

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bpf  # noqa: E402
import fio  # noqa: E402
import hooks  # noqa: E402
import report  # noqa: E402
import speed  # noqa: E402


def document(read_bytes, write_bytes):
    def side(count):
        return {"io_bytes": count, "iops": count / 4096, "bw_bytes": count,
                "clat_ns": {"mean": 5000.0, "percentile": {"50.000000": 4000, "99.000000": 9000}}}
    return "fio: a warning\n" + json.dumps({"jobs": [{"error": 0, "read": side(read_bytes),
                                                     "write": side(write_bytes)}]})


def results(coppice, peers):
    return {workload: {"coppice": [fio.Sample(coppice, coppice, 1, 1, 1, 1)],
                       **{name: [fio.Sample(peers, peers, 1, 1, 1, 1)] for name in speed.PEERS}}
            for workload in speed.WORKLOADS}


class Bench(unittest.TestCase):
    def test_fio_output_is_read_behind_its_warnings(self):
        sample = fio.parse(document(0, 8192))
        self.assertEqual((2, 8192, 5, 4, 9), (sample.iops, sample.total_bytes, sample.mean_us, sample.p50_us,
                                              sample.p99_us))

    def test_a_failed_job_is_not_a_result(self):
        with self.assertRaises(RuntimeError):
            fio.parse('{"jobs": [{"error": 5, "read": {}, "write": {}}]}')

    def test_ebpf_engines_are_judged_against_native_code_and_the_kernel_if_there_is_one(self):
        rows = {"empty": {"gcc": 1, "clang": 2, "interpreter": 9, "jit": 3, "kernel": 20},
                "fnv": {"gcc": 100, "clang": 90, "interpreter": 900, "jit": 100, "kernel": 117}}
        rows.update({name: {"interpreter": 900, "jit": 259, "kernel": None} for name in bpf.MAPS})
        goals = bpf.judge({"programs": rows, "compile_slots": 500, "compile_ms": 21, "cache_hit_us": 5})
        found = {entry["what"]: (entry["measured"], entry["met"]) for entry in goals}
        self.assertEqual((2, True), found["eBPF: empty program, ns over a native call"])
        self.assertEqual((0.9, False), found["eBPF: fnv over native -O2"])
        self.assertEqual((1.0, True), found["eBPF: fnv over the kernel's JIT"])
        self.assertNotIn("eBPF: hash_lookup over the kernel's JIT", found)
        self.assertFalse(found["eBPF: ms to compile 500 instructions"][1])

    def test_hooks_are_judged_by_what_one_more_program_costs(self):
        ns = {"bare": 20, "nothing": 21, "empty_submit": 60, "ten_submit": 105, "empty_complete": 90,
              "ten_complete": 108, "histogram": 20 + 0.01 * hooks.REQUEST_NS, "tracepoint_alone": 8,
              "tracepoint_record": 30}
        swap = {"publish_ms": 11, "pause_us": 1500, "pause_us_without": 400}
        measured = {"request_ns": ns, "swap": {"group": swap}, "attach_us": 50, "ring_millions_a_second": 4}
        measured["swap"]["volumes"] = dict(swap, publish_ms=2, pause_us=100)
        found = {entry["what"]: (round(entry["measured"], 3), entry["met"]) for entry in hooks.judge(measured)}
        self.assertEqual((5, True), found["hooks: one more empty program before a request, ns"])
        self.assertEqual((50, False), found["hooks: ten more empty programs before a request, ns"])
        self.assertEqual((1, True), found["hooks: a latency histogram, % of a request"])
        self.assertEqual((1100, False), found["hooks: us a request waits for a swap (group)"])
        self.assertEqual((0, True), found["hooks: us a request waits for a swap (volumes)"])
        self.assertNotIn("hooks: a recorded event over LTTng-UST's", found)
        found = {entry["what"]: entry["measured"] for entry in hooks.judge(dict(measured, lttng_ns=90))}
        self.assertEqual(3, found["hooks: a recorded event over LTTng-UST's"])

    def test_goals_are_met_by_their_bound_and_not_below(self):
        self.assertTrue(all(entry["met"] for entry in speed.judge(results(3.0, 1.0))))
        missed = [entry["what"] for entry in speed.judge(results(2.9, 1.0)) if not entry["met"]]
        self.assertEqual(["randwrite-4k-qd32 over qemu-nbd-qcow2"], missed)
        self.assertFalse(speed.goal("cost", 1.31, 1.3, False)["met"])

    def test_the_table_says_by_how_much_a_goal_is_missed(self):
        found = results(2.5, 1.0)
        shown = report.table(found, speed.judge(found))
        self.assertIn("MISSED by 0.50", shown)
        self.assertIn("8 of 9 goals met", shown)

    def test_the_plot_is_well_formed(self):
        plot = report.svg(results(2.0, 1.0), "a <machine> & more")
        self.assertEqual("svg", xml.dom.minidom.parseString(plot).documentElement.tagName)


if __name__ == "__main__":
    unittest.main()
