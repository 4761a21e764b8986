#include "reports/report.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "reports/csv.hpp"
#include "reports/html.hpp"
#include "reports/json.hpp"
#include "reports/spans.hpp"
#include "reports/table.hpp"

namespace tessera::reports {
namespace {

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path, std::ios::binary};
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

/// Columns of the terminal behind `stream`; the default when it is not one.
int terminal_width(std::FILE* stream) {
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return TableOptions{}.width;
}

/// Whether the user's locale says UTF-8; without one, it is assumed.
bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    const std::string locale = value;
    return locale.find("UTF-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return true;
}

}  // namespace

std::filesystem::path write_all(const core::Result& result, const std::filesystem::path& directory,
                                const SchedulePicture& picture) {
  std::filesystem::create_directories(directory);
  const std::string svg = picture.empty() ? "" : to_svg(picture);
  if (!svg.empty()) write_file(directory / "schedule.svg", svg);
  write_file(directory / "result.json", to_json(result));
  write_file(directory / "kernels.csv", kernels_csv(result));
  write_file(directory / "spans.json", to_trace(result.timeline));
  write_file(directory / "report.html", to_html(result, svg));
  return directory / "report.html";
}

std::filesystem::path write_comparison_html(const std::string& title,
                                            const std::vector<ComparisonColumn>& columns,
                                            const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  write_file(directory / "comparison.html", to_comparison_html(title, columns));
  return directory / "comparison.html";
}

void print_table(const core::Result& result, std::FILE* stream) {
  const std::string text =
      to_table(result, {.width = terminal_width(stream), .utf8 = locale_is_utf8()});
  std::fwrite(text.data(), 1, text.size(), stream);
}

void print_picture(const SchedulePicture& picture, std::FILE* stream) {
  const std::string text =
      to_strip(picture, {.width = terminal_width(stream), .colour = isatty(fileno(stream)) != 0});
  std::fwrite(text.data(), 1, text.size(), stream);
}

}  // namespace tessera::reports
