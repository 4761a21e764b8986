#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "sim/app/catalogue.hpp"
#include "sim/app/command.hpp"
#include "sim/core/data_type.hpp"

namespace tessera::app {
namespace {

struct Row {
  std::string name;
  std::string about;  ///< What the file says it is.
};

/// The first sentence of a file's leading comment, instructions to editors left out.
std::string about(const Kind& kind, const std::string& name) {
  std::istringstream text(core::read_text_file(core::resolve_file(name, kind.options())));
  std::string comment;
  for (std::string line; std::getline(text, line) && line.starts_with("#");) {
    const std::size_t first = line.find_first_not_of("# ");
    if (first == std::string::npos || line.find("yaml-language-server") != std::string::npos)
      continue;
    comment += (comment.empty() ? "" : " ") + line.substr(first);
  }
  return comment.substr(0, comment.find(". "));
}

std::vector<Row> rows_of(const std::string& kind_name) {
  std::vector<Row> rows;
  if (kind_name == "type" || kind_name == "types") {
    for (const std::string& name : core::data_type_names()) rows.push_back({name, ""});
    return rows;
  }
  const Kind& kind = kind_of(kind_name);
  for (const std::string& name : names_of(kind)) rows.push_back({name, about(kind, name)});
  return rows;
}

void list(const std::string& kind, const std::string& format) {
  const std::vector<Row> rows = rows_of(kind);
  if (format == "json") {
    auto array = nlohmann::ordered_json::array();
    for (const Row& row : rows) array.push_back({{"name", row.name}, {"about", row.about}});
    fmt::print("{}\n", array.dump(2));
    return;
  }
  std::size_t width = 0;
  for (const Row& row : rows) width = std::max(width, row.name.size());
  for (const Row& row : rows)
    fmt::print("{}\n",
               row.about.empty() ? row.name : fmt::format("{:{}}  {}", row.name, width, row.about));
}

}  // namespace

void add_list_command(CLI::App& program) {
  struct Arguments {
    std::string kind;
    std::string format = "table";
  };
  auto arguments = std::make_shared<Arguments>();
  std::string known;
  for (const Kind& kind : kinds()) known += kind.plural + ", ";
  CLI::App* command = program.add_subcommand("list", "List the descriptions of one kind");
  command->add_option("kind", arguments->kind, known + "types")->required();
  command->add_option("--format", arguments->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}));
  command->callback([arguments] { list(arguments->kind, arguments->format); });
}

}  // namespace tessera::app
