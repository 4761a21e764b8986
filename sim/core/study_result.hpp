#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/result.hpp"

/// What many runs of one job answer: a sweep over a study's points, or a comparison of clusters.
namespace tessera::core {

/// Something that differs between the points.
struct StudyAxis {
  std::string path;                 ///< "batch.sequences", "cluster.node.device.hbm.peak_rate"
  std::vector<std::string> values;  ///< YAML text, each once, in the order written.
};

/// A limit that a point should keep.
struct StudyTarget {
  std::string quantity;  ///< "tpot"
  bool at_most = true;   ///< Else at least.
  double limit = 0;
  std::string unit;  ///< As the quantity's: "s".
};

/// How a point stands to the targets.
enum class Attainment {
  surely,    ///< Also with every quantity at the worse end of its interval.
  probably,  ///< By the values; an interval reaches beyond a limit.
  hardly,    ///< Not by the values; an interval reaches within every limit.
  no,        ///< Some quantity's whole interval is beyond its limit, or there is none.
};
[[nodiscard]] std::string to_string(Attainment attainment);

struct StudyPoint {
  std::size_t number = 0;             ///< In the study's order, from 0.
  std::string name;                   ///< For people, where a point has one: "h20_sxm".
  std::vector<std::string> settings;  ///< One an axis, YAML text.
  /// One a name of StudyResult::quantities; all empty when refused.
  std::vector<std::optional<Estimate>> quantities;
  /// What is said of it besides numbers, as (name, text): ("binding", "hbm 61 %").
  std::vector<std::pair<std::string, std::string>> facts;
  std::string refusal_kind;            ///< "does_not_fit", ...; "failed" for our mistakes.
  std::optional<std::string> refused;  ///< The reason.
  Attainment attainment = Attainment::surely;
};

/// A point that no other beats in both directions of the front.
struct FrontPoint {
  std::size_t point = 0;  ///< Index into StudyResult::points.
  bool certain = true;    ///< False: another point beats it in value, but the intervals overlap.
};

/// Points that are best in two quantities at once, among those that answer.
struct StudyFront {
  std::string x;                   ///< "tokens_per_second_per_user"
  std::string y;                   ///< "tokens_per_dollar"
  std::vector<FrontPoint> points;  ///< By ascending x.
};

/// The best point in one respect.
struct StudyBest {
  std::string title;      ///< "Most tokens_per_second_per_gpu with tpot at most 50 ms"
  std::size_t point = 0;  ///< Index into StudyResult::points.
  Result result;          ///< Its whole answer.
};

struct StudyResult {
  std::string kind;  ///< "sweep" or "comparison"
  std::string name;  ///< File stem of the study or scenario.
  std::string title;
  std::string base;      ///< Scenario that the points differ from.
  std::string fidelity;  ///< "analytical" or "cycle"
  std::string tessera_version;
  std::vector<StudyAxis> axes;
  std::vector<std::string> quantities;  ///< Names, the first ones those that the study is about.
  std::vector<StudyTarget> targets;
  std::string objective;  ///< The quantity that is to be at its best; may be empty.
  std::vector<StudyPoint> points;
  std::size_t excluded = 0;  ///< Combinations that the study's filters leave out.
  std::vector<std::pair<std::string, std::size_t>> refusals;  ///< By kind, most frequent first.
  std::optional<StudyFront> front;
  std::vector<StudyBest> best;
  std::vector<std::string> answer;    ///< The answer in sentences.
  std::vector<std::string> warnings;  ///< What the reader must know to trust it.

  /// Index into `quantities`.
  [[nodiscard]] std::optional<std::size_t> index_of(const std::string& quantity) const;
  /// The point's quantity, if it has it.
  [[nodiscard]] const Estimate* find(const StudyPoint& point, const std::string& quantity) const;
};

/// Whether a larger value of the quantity is the better one: throughputs, batches and utilisation;
/// not times, costs, energies and bytes.
[[nodiscard]] bool more_is_better(const std::string& quantity);

/// How the point stands to all targets.
[[nodiscard]] Attainment attainment(const StudyResult& study, const StudyPoint& point);

/// The front of two quantities over the points that answer, ascending in x. One point beats another
/// when it is at least as good in both values and better in one. A beaten point stays on the front,
/// as uncertain, while no other point beats it with the nearer ends of both intervals; `possible`
/// leaves those out when false.
[[nodiscard]] StudyFront front_of(const StudyResult& study, const std::string& x,
                                  const std::string& y, bool possible = true);

}  // namespace tessera::core
