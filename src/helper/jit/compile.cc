#include "helper/jit/compile.h"

#include <fmt/format.h>
#include <llvm/Analysis/InlineCost.h>
#include <llvm/Analysis/TargetLibraryInfo.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/Transforms/IPO/Inliner.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/SROA.h>

#include "base/check.h"
#include "helper/jit/generate.h"
#include "helper/jit/link.h"
#include "helper/jit/pointers.h"

namespace coppice::jit {
namespace {

struct Processor {
  std::string triple, name, features;
};

Processor host() {
  static const Processor kHost = [] {
    Processor host{.triple = llvm::sys::getDefaultTargetTriple(),
                   .name = llvm::sys::getHostCPUName().str(),
                   .features = {}};
    for (const auto& each : llvm::sys::getHostCPUFeatures()) {
      if (!host.features.empty()) host.features += ',';
      host.features += (each.getValue() ? '+' : '-') + each.getKey().str();
    }
    return host;
  }();
  return kHost;
}

Processor processor_of(bpf::Target target) {
  switch (target) {
    case bpf::Target::host: return host();
    case bpf::Target::x86_64: return {"x86_64-unknown-linux-gnu", "x86-64-v2", ""};
    case bpf::Target::aarch64: return {"aarch64-unknown-linux-gnu", "generic", ""};
  }
  return host();
}

Result<std::unique_ptr<llvm::TargetMachine>> machine_for(bpf::Target target) {
  const Processor processor = processor_of(target);
  std::string why;
  const llvm::Target* found = llvm::TargetRegistry::lookupTarget(processor.triple, why);
  if (found == nullptr)
    return fail(Errc::unsupported, "cannot make code for the processor", std::move(why));
  llvm::TargetOptions options;
  options.MCOptions.AsmVerbose = false;
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(
      processor.triple, processor.name, processor.features, options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
}

// None: there is no library that a loop could be turned into a call of.
llvm::TargetLibraryInfoImpl no_library(const llvm::TargetMachine& machine) {
  llvm::TargetLibraryInfoImpl none(machine.getTargetTriple());
  none.disableAllFunctions();
  return none;
}

// clang has optimised the program as far as bytecode shows. So each function is simplified as at
// -O1, which takes half as long as the whole of -O2; what bytecode cannot show is done in full:
// inlining of subprograms and callbacks, vectors, unrolled loops.
llvm::ModulePassManager passes_of(llvm::PassBuilder& builder) {
  using llvm::OptimizationLevel;
  constexpr auto kPhase = llvm::ThinOrFullLTOPhase::None;
  constexpr unsigned kInlineLevel = 2, kCallsFoundMax = 4;
  llvm::FunctionPassManager early;
  early.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  early.addPass(llvm::EarlyCSEPass());
  llvm::ModuleInlinerWrapperPass inliner(llvm::getInlineParams(kInlineLevel, 0), true, {},
                                         llvm::InliningAdvisorMode::Default, kCallsFoundMax);
  inliner.getPM().addPass(llvm::createCGSCCToFunctionPassAdaptor(
      builder.buildFunctionSimplificationPipeline(OptimizationLevel::O1, kPhase)));
  llvm::ModulePassManager all;
  all.addPass(llvm::createModuleToFunctionPassAdaptor(std::move(early)));
  all.addPass(std::move(inliner));
  all.addPass(builder.buildModuleOptimizationPipeline(OptimizationLevel::O2, kPhase));
  return all;
}

void optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = true;
  tuning.SLPVectorization = false;  // A third of the time, and nothing that programs do gains.
  llvm::PassBuilder builder(&machine, tuning);
  builder.registerPeepholeEPCallback(
      [](llvm::FunctionPassManager& passes, llvm::OptimizationLevel) {
        passes.addPass(PointersPass());
      });
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager groups;
  llvm::ModuleAnalysisManager modules;
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(no_library(machine)); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(groups);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, groups, modules);
  passes_of(builder).run(module, modules);
}

Result<llvm::SmallVector<char, 0>> emit(const Order& order, llvm::CodeGenFileType type) {
  TRY(const auto machine, machine_for(order.request().target));
  llvm::LLVMContext context;
  const auto module = generate(order, context);
  module->setDataLayout(machine->createDataLayout());
  module->setTargetTriple(machine->getTargetTriple().str());
  std::string wrong;
  llvm::raw_string_ostream wrong_stream(wrong);
  if (llvm::verifyModule(*module, &wrong_stream))
    return fail(Errc::corrupt, "made a module that LLVM refuses", std::move(wrong));
  optimise(*module, *machine);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream out(bytes);
  llvm::legacy::PassManager passes;
  passes.add(new llvm::TargetLibraryInfoWrapperPass(no_library(*machine)));
  if (machine->addPassesToEmitFile(passes, out, nullptr, type, true))
    return fail(Errc::unsupported, "cannot make code for the processor",
                std::string("LLVM has no code generator for it"));
  passes.run(*module);
  return bytes;
}

}  // namespace

void prepare() {
  // Two passes that take a third of code generation and leave the code as fast as it was.
  const char* const options[] = {"coppice-jit", "-disable-x86-domain-reassignment",
                                 "-post-RA-scheduler=false"};
  llvm::raw_null_ostream nowhere;
  llvm::cl::ParseCommandLineOptions(static_cast<int>(std::size(options)), options, "", &nowhere);
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
  static_cast<void>(host());
}

Result<std::vector<std::byte>> compile(const Order& order) {
  TRY(const auto object, emit(order, llvm::CodeGenFileType::ObjectFile));
  return link(object, kEntryName);
}

Result<std::string> list(const Order& order) {
  TRY(const auto text, emit(order, llvm::CodeGenFileType::AssemblyFile));
  return std::string(text.begin(), text.end());
}

}  // namespace coppice::jit
