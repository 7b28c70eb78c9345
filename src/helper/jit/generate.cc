#include "helper/jit/generate.h"

#include <fmt/format.h>

#include <map>

#include "base/check.h"
#include "helper/jit/body.h"

namespace coppice::jit {

namespace {

llvm::Function* declare(const Order& order, llvm::Module& module, size_t start) {
  auto& context = module.getContext();
  const bool is_entry = start == order.program().entry();
  auto* function = llvm::Function::Create(
      function_type(context),
      is_entry ? llvm::Function::ExternalLinkage : llvm::Function::InternalLinkage,
      is_entry ? std::string(kEntryName) : fmt::format("slot_{}", start), module);
  function->setDSOLocal(true);
  function->addFnAttr(llvm::Attribute::NoUnwind);
  // An access to address 0 is one like another: the optimiser may conclude nothing from it.
  function->addFnAttr(llvm::Attribute::NullPointerIsValid);
  return function;
}

}  // namespace

std::unique_ptr<llvm::Module> generate(const Order& order, llvm::LLVMContext& context) {
  auto module = std::make_unique<llvm::Module>("program", context);
  Functions functions;
  for (const size_t start : order.program().subprograms())
    functions[start] = declare(order, *module, start);
  for (const auto& [start, function] : functions) Body(order, functions, start).fill();
  return module;
}

}  // namespace coppice::jit
