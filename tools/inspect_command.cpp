// leafcutter inspect FILE: architecture, parameters, modules, formats, sizes, hashes. The text and the JSON are made from the same facts.
#include <fmt/format.h>

#include <map>

#include "base/file.h"
#include "base/size_text.h"
#include "compress/leaf_reader.h"
#include "tools/command.h"
#include "tools/console.h"

namespace leafcutter::tools {
namespace {

using compress::LeafIndex;
using compress::ModelDescription;
using nlohmann::ordered_json;

struct InspectFlags {
  std::string file;
  bool chunks = false;
};

ordered_json model_facts(const LeafIndex& index) {
  const ModelDescription& m = index.model;
  ordered_json facts = ordered_json::parse(compress::to_json_text(m));
  facts["parameters"] = compress::parameter_count(m);
  return facts;
}

ordered_json tensor_facts(const LeafIndex& index, const compress::TensorEntry& t) {
  const compress::ModuleEntry& module = index.modules.at(t.module);
  ordered_json facts = {{"role", compress::role_name(t.role)},
                        {"module", compress::module_kind_name(module.kind)},
                        {"rows", t.rows},
                        {"k", t.k},
                        {"format", quant::format_of(t.format).name},
                        {"layout", static_cast<int>(t.layout)},
                        {"divisor", t.divisor},
                        {"offset", t.offset},
                        {"bytes", t.bytes}};
  if (compress::is_layer_role(t.role)) facts["layer"] = t.layer;
  return facts;
}

ordered_json module_facts(const compress::ModuleEntry& m) {
  ordered_json facts = {
      {"kind", compress::module_kind_name(m.kind)}, {"bytes", m.bytes}, {"tensors", m.tensor_count}, {"chunks", m.chunk_count}};
  if (m.kind == compress::ModuleKind::attention || m.kind == compress::ModuleKind::feed_forward) facts["layer"] = m.layer;
  return facts;
}

ordered_json chunk_facts(const LeafIndex& index, std::size_t i) {
  const compress::ChunkEntry& c = index.chunks[i];
  return {{"chunk", i},
          {"module", c.module},
          {"offset", c.file_offset},
          {"stored_bytes", c.stored_bytes},
          {"raw_bytes", c.raw_bytes},
          {"codec", c.codec == compress::Codec::zstd ? "zstd" : "none"},
          {"xxh3", fmt::format("{:016x}", c.hash)}};
}

ordered_json facts_of(const LeafIndex& index, const InspectFlags& flags) {
  std::uint64_t raw = 0, stored = 0;
  for (const compress::ChunkEntry& c : index.chunks) raw += c.raw_bytes, stored += c.stored_bytes;
  std::map<std::string, std::uint64_t> by_format;
  for (const compress::TensorEntry& t : index.tensors) by_format[quant::format_of(t.format).name] += t.bytes;
  ordered_json facts = {{"file", flags.file},
                        {"file_bytes", index.file_bytes},
                        {"format_version", compress::kFormatVersion},
                        {"weight_bytes", raw},
                        {"stored_bytes", stored},
                        {"tokenizer_bytes", index.tokenizer_bytes},
                        {"model", model_facts(index)},
                        {"bytes_by_format", by_format},
                        {"modules", ordered_json::array()},
                        {"tensors", ordered_json::array()}};
  for (const compress::ModuleEntry& m : index.modules) facts["modules"].push_back(module_facts(m));
  for (const compress::TensorEntry& t : index.tensors) facts["tensors"].push_back(tensor_facts(index, t));
  facts["chunk_count"] = index.chunks.size();
  if (flags.chunks) {
    facts["chunks"] = ordered_json::array();
    for (std::size_t i = 0; i < index.chunks.size(); i++) facts["chunks"].push_back(chunk_facts(index, i));
  }
  return facts;
}

std::string facts_text(const ordered_json& facts) {
  std::string out;
  const auto& model = facts["model"];
  out += fmt::format("{}: {} {}, {:.2f} M parameters, {}\n", facts["file"].get<std::string>(), model["architecture"].get<std::string>(),
                     model.value("name", ""), static_cast<double>(model["parameters"].get<std::uint64_t>()) / 1e6,
                     format_bytes(facts["file_bytes"].get<std::uint64_t>()));
  out += fmt::format("weights {} ({} stored), tokenizer {}, format version {}, {} chunks\n",
                     format_bytes(facts["weight_bytes"].get<std::uint64_t>()), format_bytes(facts["stored_bytes"].get<std::uint64_t>()),
                     format_bytes(facts["tokenizer_bytes"].get<std::uint64_t>()), facts["format_version"].get<int>(),
                     facts["chunk_count"].get<std::uint64_t>());
  for (const auto& [format, bytes] : facts["bytes_by_format"].items())
    out += fmt::format("  {:6} {}\n", format, format_bytes(bytes.get<std::uint64_t>()));
  out += "\nmodel\n";
  for (const auto& [key, value] : model.items())
    if (key != "layers" && !value.is_null()) out += fmt::format("  {:20} {}\n", key, value.dump());
  out += "\n";
  std::uint64_t module = 0, tensor = 0;
  for (const auto& m : facts["modules"]) {
    out += fmt::format("{:3} {}{}  {}, {} chunks\n", module++, m["kind"].get<std::string>(),
                       m.contains("layer") ? fmt::format(" {}", m["layer"].get<int>()) : std::string(),
                       format_bytes(m["bytes"].get<std::uint64_t>()), m["chunks"].get<int>());
    for (std::uint64_t i = 0; i < m["tensors"].get<std::uint64_t>(); i++) {
      const auto& t = facts["tensors"][tensor++];
      out += fmt::format("      {:20} {:>7} x {:<6} {:6} {:>10}", t["role"].get<std::string>(), t["rows"].get<std::uint64_t>(),
                         t["k"].get<std::uint64_t>(), t["format"].get<std::string>(), format_bytes(t["bytes"].get<std::uint64_t>()));
      if (t["divisor"].get<double>() != 1) out += fmt::format("  divisor {}", t["divisor"].get<double>());
      if (t.contains("layer") && m["kind"] == "vectors") out += fmt::format("  layer {}", t["layer"].get<int>());
      out += "\n";
    }
  }
  if (facts.contains("chunks")) {
    out += "\n";
    for (const auto& c : facts["chunks"])
      out += fmt::format("chunk {:5}  module {:3}  offset {:12}  stored {:8}  raw {:8}  {:4}  xxh3 {}\n", c["chunk"].get<std::uint64_t>(),
                         c["module"].get<int>(), c["offset"].get<std::uint64_t>(), c["stored_bytes"].get<std::uint64_t>(),
                         c["raw_bytes"].get<std::uint64_t>(), c["codec"].get<std::string>(), c["xxh3"].get<std::string>());
  }
  return out;
}

}  // namespace

RunCommand add_inspect(CLI::App& app) {
  auto flags = std::make_shared<InspectFlags>();
  app.add_option("FILE", flags->file, "a .leaf")->required();
  app.add_flag("--chunks", flags->chunks, "list every chunk with offset, codec and hash");
  return [flags](const CommonFlags& common) {
    const auto file = open_file(flags->file);
    const ordered_json facts = facts_of(compress::read_leaf_index(*file), *flags);
    if (common.json)
      print_json(facts);
    else
      print_text(facts_text(facts));
  };
}

}  // namespace leafcutter::tools
