#include "sim/app/study_output.hpp"

#include <fstream>
#include <stdexcept>

#include "reports/study_page.hpp"
#include "reports/study_tables.hpp"

namespace tessera::app {
namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file{path, std::ios::binary};
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace

const std::set<std::string>& study_files() {
  static const std::set<std::string> files = {"points.csv", "result.json", "study.html"};
  return files;
}

void write_study(const core::StudyResult& study, const std::filesystem::path& folder) {
  const std::string points = reports::study_csv(study);
  write(folder / "points.csv", points);
  write(folder / "result.json", reports::study_json(study));
  write(folder / "study.html", reports::to_study_html(study, points));
}

}  // namespace tessera::app
