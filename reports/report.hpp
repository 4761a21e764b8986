#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "reports/html.hpp"
#include "reports/schedule_picture.hpp"
#include "sim/core/result.hpp"

/// Turns results into what people and programs read. Every writer is a pure function of the result:
/// equal results give equal bytes.
namespace tessera::reports {

/// Writes result.json, kernels.csv, spans.json and report.html into `directory`, which is made when
/// it is not there; with a `picture`, schedule.svg too, which the page then shows. Returns the path
/// of report.html. Throws std::runtime_error naming the file that cannot be written.
std::filesystem::path write_all(const core::Result& result, const std::filesystem::path& directory,
                                const SchedulePicture& picture = {});

/// Writes comparison.html into `directory` and returns its path; throws as write_all.
std::filesystem::path write_comparison_html(const std::string& title,
                                            const std::vector<ComparisonColumn>& columns,
                                            const std::filesystem::path& directory);

/// Prints the terminal table, fitted to the terminal's width when `stream` is one.
void print_table(const core::Result& result, std::FILE* stream);

/// Prints the picture as a strip of text, in colour when `stream` is a terminal.
void print_picture(const SchedulePicture& picture, std::FILE* stream);

}  // namespace tessera::reports
