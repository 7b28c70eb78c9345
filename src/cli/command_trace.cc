// cli/command_trace.cc — trace: the daemon's tracepoints, live and recorded.
#include "cli/trace_tools.h"

namespace coppice::cli {
namespace {

void add_list(CommandLine& line, CLI::App& trace) {
  auto format = std::make_shared<Format>();
  CLI::App& command = line.add(trace, {.name = "list",
                                       .summary = "List the tracepoints, with tier and arguments",
                                       .example = "coppice trace list"});
  add_table_flags(command, *format);
  line.runs(command, [format](Session& session) { return list_tracepoints(session, *format); });
}

void add_stream(CommandLine& line, CLI::App& trace) {
  auto wishes = std::make_shared<StreamWishes>();
  CLI::App& command = line.add(
      trace, {.name = "stream",
              .summary = "Print events as they happen",
              .example = "coppice trace stream io_complete --filter 'latency_ns > 5000000'"});
  add_names(command, "EVENT", wishes->events, "Tracepoints: EVENT[,EVENT]...")->required();
  add_text(command, "--filter", wishes->filter, "EXPR",
           "Only these: FIELD == != < <= > >= ~ VALUE, joined by && and ||");
  command.add_option("--count", wishes->count, "End after so many events")->type_name("N");
  command.add_flag("--json", wishes->json, "One JSON object a line");
  line.runs(command, [wishes](Session& session) { return stream_events(session, *wishes); });
}

void add_latency(CommandLine& line, CLI::App& trace) {
  auto wishes = std::make_shared<LatencyWishes>();
  CLI::App& command = line.add(trace, {.name = "latency",
                                       .summary = "Show how long requests take, live",
                                       .example = "coppice trace latency tank/vm"});
  add_name(command, "NAME", wishes->target, "A volume, a group or a pool");
  command.add_option("--seconds", wishes->seconds, "End after so long")->type_name("N");
  command.add_flag("--json", wishes->json, "Print one histogram at the end, as JSON");
  line.runs(command, [wishes](Session& session) { return show_latency(session, *wishes); });
}

void add_top(CommandLine& line, CLI::App& trace) {
  auto wishes = std::make_shared<TopWishes>();
  CLI::App& command = line.add(trace, {.name = "top",
                                       .summary = "Show the busiest volumes and clients, live",
                                       .example = "coppice trace top --seconds 5"});
  command.add_option("--seconds", wishes->seconds, "End after so long")->type_name("N");
  add_table_flags(command, wishes->format);
  line.runs(command, [wishes](Session& session) { return show_clients(session, *wishes); });
}

void add_record(CommandLine& line, CLI::App& trace) {
  auto wishes = std::make_shared<RecordWishes>();
  CLI::App& command = line.add(trace, {.name = "record",
                                       .summary = "Write events into a file, for 'trace report'",
                                       .example = "coppice trace record slow.trace --seconds 10"});
  add_name(command, "FILE", wishes->file, "The file to write");
  add_texts(command, "-e,--event", wishes->events, "EVENT[,EVENT]",
            "These; else all that requests meet on their way");
  command.add_option("--seconds", wishes->seconds, "End after so long")->type_name("N");
  line.runs(command, [wishes](Session& session) { return record_events(session, *wishes); });
}

void add_report(CommandLine& line, CLI::App& trace) {
  auto wishes = std::make_shared<ReportWishes>();
  CLI::App& command = line.add(trace, {.name = "report",
                                       .summary = "Show what happened during one slow request",
                                       .example = "coppice trace report slow.trace"});
  add_name(command, "FILE", wishes->file, "What 'trace record' wrote");
  command.add_option("--request", wishes->request, "This one; else the slowest")->type_name("N");
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session&) { return report_request(*wishes); });
}

}  // namespace

void add_trace_commands(CommandLine& line) {
  CLI::App& trace = line.add(line.root(), {.name = "trace",
                                           .summary = "Look into the daemon at work",
                                           .example = "coppice trace stream io_complete,error"});
  auto types = std::make_shared<bool>(false);
  trace.add_flag("--btf", *types,
                 "Write the types that programs are relocated against, as BTF, to standard output");
  trace.require_subcommand(0, 1);
  line.runs(trace, [types](Session& session) -> Attempt<> {
    if (*types) return write_types(session);
    return misuse("what to trace: list, stream, latency, top, record or report; or --btf");
  });
  add_list(line, trace);
  add_stream(line, trace);
  add_latency(line, trace);
  add_top(line, trace);
  add_record(line, trace);
  add_report(line, trace);
}

}  // namespace coppice::cli
