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

/// The fact that names the device of a point. Two points of one device err alike in part.
inline constexpr const char* kDeviceFact = "device";

struct StudyPoint {
  std::size_t number = 0;             ///< In the study's order, from 0.
  std::string name;                   ///< For people, where a point has one: "h20_sxm".
  std::vector<std::string> settings;  ///< One an axis, YAML text.
  std::string job;                    ///< What it does, as job_of has it.
  /// One a name of StudyResult::quantities; all empty when refused.
  std::vector<std::optional<Estimate>> quantities;
  /// What is said of it besides numbers, as (name, text): ("binding", "hbm 61 %").
  std::vector<std::pair<std::string, std::string>> facts;
  std::string refusal_kind;            ///< "does_not_fit", ...; "failed" for our mistakes.
  std::optional<std::string> refused;  ///< The reason.
  Attainment attainment = Attainment::surely;
};

/// A point that no other of its job beats in both directions of the front.
struct FrontPoint {
  std::size_t point = 0;  ///< Index into StudyResult::points.
  bool certain = true;    ///< False: another beats it in value, but none for sure.
};

/// Points that are best in two quantities at once, among those that answer and do the same job.
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
  /// Paths of axes that say what is to be done, as a context, and not how: points that differ in
  /// them do different jobs, and are not held against each other.
  std::vector<std::string> for_each;
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

/// What the point's settings say of StudyResult::for_each, "batch.context 4096"; empty when that
/// is.
[[nodiscard]] std::string job_of(const StudyResult& study, const StudyPoint& point);

/// The jobs of all points, in the order in which they first appear; one without a name when there
/// is but one.
[[nodiscard]] std::vector<std::string> jobs_of(const StudyResult& study);

/// How many times the quantity of `b` that of `a` is, with its 90 % interval and grade. Errors add
/// in quadrature. Of one device, model and software the part that both share cancels, and so does
/// the error of a price that both pay, which leaves what the tokens or hours behind a bill err;
/// bills at different prices share nothing. Requires: both points have the quantity, with positive
/// bounds.
[[nodiscard]] Estimate ratio_of(const StudyResult& study, const StudyPoint& a, const StudyPoint& b,
                                const std::string& quantity);

/// Whether `a` is as good in the quantity as `b` or better, even at the worse end of their ratio's
/// interval.
[[nodiscard]] bool surely_no_worse(const StudyResult& study, const StudyPoint& a,
                                   const StudyPoint& b, const std::string& quantity);

/// The quantity that is left of a priced one when both sides pay the same price; none for others.
[[nodiscard]] std::optional<std::string> unpriced(const std::string& quantity);

/// The front of two quantities over the points that answer, ascending in x. One point beats another
/// of the same job when it is at least as good in both values and better in one. A beaten point
/// stays on the front, as uncertain, while no point that is unbeaten among those of its own device
/// and job is surely no worse in both.
[[nodiscard]] StudyFront front_of(const StudyResult& study, const std::string& x,
                                  const std::string& y);

}  // namespace tessera::core
