#include "reports/export_check.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <map>

#include "models/device/device_file.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::WithinRel;
using core::parse_overrides;
using reports::ExportCheck;

const device::ExportRules& rules() {
  static const device::ExportRules loaded = device::load_export_rules();
  return loaded;
}

ExportCheck check(const std::string& device, const std::string& date,
                  const std::vector<std::string>& set = {}) {
  return reports::export_check(device::load_device(device, parse_overrides(set)), rules(), date);
}

/// A device without one key of its die, in 2023.
ExportCheck check_without(const std::string& key, const std::string& device) {
  const std::string text = "extends: " + device + "\ndie:\n  " + key + ": ~\n";
  return reports::export_check(device::read_device(core::ConfigDocument::from_text(
                                   text, device + ".yaml", device::device_options())),
                               rules(), "2023-10-17");
}

std::string standing(const std::string& device, const std::string& date,
                     const std::vector<std::string>& set = {}) {
  return check(device, date, set).standing.text();
}

const std::string kNone = "not controlled";
const std::string kOld = "3A090: licence required; presumption of denial";
const std::string kDenied = "3A090.a: licence required; presumption of denial";
const std::string kCase = "3A090.a: licence required; case by case";
const std::string kLetter = "licence by letter: licence required";
const std::string kLetterCase = "licence by letter: licence required; case by case";

/// A device's figures and classes, worked out by hand from its data sheet and the rules' text.
struct ByHand {
  double tpp;           ///< SMs x FLOP per cycle x clock x bits / 10^12.
  double density;       ///< That over mm2.
  double dram, io;      ///< GB/s; io: twice the sum of NVLink and the host link per direction.
  std::string in_2022;  ///< TPP >= 4,800 and I/O >= 600 GB/s.
  std::string in_2023;  ///< a: TPP >= 4,800, or >= 1,600 and density >= 5.92; b below that.
  std::string in_2025;  ///< And the letter: H20, DRAM >= 4,000 (1,400 unconfirmed) GB/s, ...
  std::string in_2026;  ///< TPP < 21,000 and DRAM < 6,500 GB/s: case by case.
};

const std::map<std::string, ByHand> kByHand = {
    // GA100: 108 x 2048 x 1.41 GHz = 311.9 TFLOP/s of bf16, x 16 = 4,990; / 826 mm2. NVLink 600,
    // PCIe Gen4 64. A800's NVLink of 400 is what took it below 600.
    {"a100_40gb", {4990, 6.041, 1555, 664, kOld, kDenied, kDenied, kCase}},
    {"a100_pcie", {4990, 6.041, 1935, 664, kOld, kDenied, kDenied, kCase}},
    {"a100_sxm", {4990, 6.041, 2039, 664, kOld, kDenied, kDenied, kCase}},
    {"a800_sxm", {4990, 6.041, 2039, 464, kNone, kDenied, kDenied, kCase}},
    // GH100: 132 x 4096 x 1.83 GHz = 989.4 TFLOP/s of bf16, x 16 = 15,831; / 814 mm2. NVLink 900,
    // PCIe Gen5 128; NVL has three bridges, 600; H800 400 + 128 = 528.
    {"h100_nvl", {15831, 19.449, 3900, 728, kOld, kDenied, kDenied, kCase}},
    {"h100_sxm", {15831, 19.449, 3350, 1028, kOld, kDenied, kDenied, kCase}},
    {"h200_sxm", {15831, 19.449, 4800, 1028, kOld, kDenied, kDenied, kCase}},
    {"h800_sxm", {15831, 19.449, 3350, 528, kNone, kDenied, kDenied, kCase}},
    // H20: 78 x 1024 x 1.853 GHz = 148.0 TFLOP/s, x 16 = 2,368 < 2,400; / 814 = 2.91 < 3.2: below
    // both prongs of b, until the letter named it.
    {"h20_sxm", {2368, 2.909, 4000, 1028, kNone, kNone, kLetter, kLetterCase}},
    {"h20_141gb", {2368, 2.909, 4800, 1028, kNone, kNone, kLetter, kLetterCase}},
    // GB100: 148 x 8192 x 1.856 GHz = 2,250 TFLOP/s, x 16 = 36,004; GB200 152 at 2.008 GHz 40,006;
    // Ultra's NVFP4 13.5 and 15.0 PFLOP/s, x 4. Above 21,000 and above 6,500 GB/s.
    {"b200_sxm", {36004, 22.502, 8000, 1928, kOld, kDenied, kDenied, kDenied}},
    {"b300_sxm", {54006, 33.754, 8000, 2056, kOld, kDenied, kDenied, kDenied}},
    {"gb200", {40006, 25.003, 8000, 2700, kOld, kDenied, kDenied, kDenied}},
    {"gb300", {60008, 37.505, 8000, 2700, kOld, kDenied, kDenied, kDenied}},
    // AD102: 142 x 1024 x 2.49 GHz = 362.1 TFLOP/s, x 16 = 5,793; / 609. No NVLink: PCIe's 64.
    {"l40s", {5793, 9.512, 864, 64, kNone, kDenied, kDenied, kCase}},
    // GB202: 188 x 1024 x 2.617 GHz = 503.8 TFLOP/s, x 16 = 8,061; / 750.
    {"rtx_pro_6000_server", {8061, 10.748, 1792, 128, kNone, kDenied, kDenied, kCase}},
};

TEST_CASE("every shipped device is where a hand-made table has it", "[config][export]") {
  constexpr double kRounded = 5e-4;
  const std::vector<std::string> shipped = core::names_in("hw_configs/devices");
  CHECK(shipped.size() == kByHand.size());
  for (const std::string& name : shipped) {
    INFO(name);
    REQUIRE(kByHand.contains(name));
    const ByHand& row = kByHand.at(name);
    const ExportCheck now = check(name, "2022-10-07");
    CHECK_THAT(now.figures.tpp, WithinRel(row.tpp, kRounded));
    CHECK_THAT(now.figures.performance_density.value(), WithinRel(row.density, kRounded));
    CHECK_THAT(now.figures.dram_bandwidth, WithinRel(row.dram * 1e9, 1e-12));
    CHECK_THAT(now.figures.io_bandwidth, WithinRel(row.io * 1e9, 1e-12));
    CHECK(now.standing.text() == row.in_2022);
    CHECK(standing(name, "2023-10-17") == row.in_2023);
    CHECK(standing(name, "2025-04-15") == row.in_2025);
    CHECK(standing(name, "2026-01-15") == row.in_2026);
  }
}

TEST_CASE("published TPP and densities are met", "[config][export]") {
  // TPP: NVIDIA's data-sheet rates x bits; densities as published at smbom.com and wccftech.com.
  CHECK_THAT(check("h100_sxm", "2023-10-17").figures.performance_density.value(),
             WithinRel(19.4, 5e-3));
  CHECK_THAT(check("h20_sxm", "2023-10-17").figures.performance_density.value(),
             WithinRel(2.9, 5e-3));
  CHECK_THAT(check("h20_sxm", "2023-10-17").figures.tpp, WithinRel(2368.0, 1e-3));
  CHECK_THAT(check("a100_sxm", "2023-10-17").figures.tpp, WithinRel(4992.0, 1e-3));
}

TEST_CASE("a rule holds from its first day until the day before the next", "[config][export]") {
  CHECK(standing("h100_sxm", "2022-10-06") == "no rule in force");
  CHECK(standing("h800_sxm", "2023-10-16") == kNone);
  CHECK(standing("h800_sxm", "2023-10-17") == kDenied);
  CHECK(standing("h20_sxm", "2025-04-08") == kNone);
  CHECK(standing("h20_sxm", "2025-04-09") == kLetter);
  CHECK(standing("h200_sxm", "2026-01-14") == kDenied);
  CHECK(standing("h200_sxm", "2026-01-15") == kCase);
  CHECK(standing("h100_sxm", "2024-12-02") == kDenied);  // an event between two rules
  CHECK(reports::turning_days(rules()) ==
        std::vector<std::string>{"2022-10-07", "2023-10-17", "2025-04-09", "2026-01-15"});
}

TEST_CASE("a review decides licences and leaves what spares them", "[config][export]") {
  // 40 of H100's SMs: 4,797, density 5.89: below a.
  const auto cut = [](const std::string& date) {
    return standing("h100_sxm", date, {"sm.count=40", "sm.gpc_sizes=[20,20]"});
  };
  CHECK(cut("2023-10-17") == "3A090.b: licence required, or an exception after notification");
  CHECK(cut("2026-01-15") ==
        "3A090.b: licence required; case by case, or an exception after notification");
}

TEST_CASE("thresholds count on their own side", "[config][export]") {
  // 4,800 / 16 bits / 2048 FLOP / 108 SMs = 1,356.337 MHz
  const auto at = [](const std::string& clock, const std::string& date) {
    return standing("a100_sxm", date, {"clock.quoted=" + clock, "clock.boost=" + clock});
  };
  CHECK(at("1356.4 MHz", "2022-10-07") == kOld);
  CHECK(at("1356.3 MHz", "2022-10-07") == kNone);
  // Below 4,800 its density of 5.81 leaves a for b.
  CHECK(at("1356.4 MHz", "2023-10-17") == kDenied);
  CHECK(at("1356.3 MHz", "2023-10-17") ==
        "3A090.b: licence required, or an exception after notification");
  // On a smaller die the second prong of a takes it: 4,799 / 5.92 = 810 mm2.
  CHECK(standing("a100_sxm", "2023-10-17", {"clock.quoted=1356.3 MHz", "die.area=810 mm2"}) ==
        kDenied);
  CHECK(standing("h200_sxm", "2026-01-15", {"hbm.peak_rate=6500 GB/s"}) == kDenied);
  CHECK(standing("h200_sxm", "2026-01-15", {"hbm.peak_rate=6499 GB/s"}) == kCase);
  CHECK(standing("a800_sxm", "2022-10-07", {"nvlink.rate=268 GB/s"}) == kOld);  // 2 x (268 + 32)
  CHECK(standing("a800_sxm", "2022-10-07", {"nvlink.rate=267 GB/s"}) == kNone);
}

TEST_CASE("the letter's prongs are told apart by who confirms them", "[config][export]") {
  // A device below 3A090 with less memory bandwidth than H20 meets only the disclosed numbers.
  const ExportCheck slow = check("h20_sxm", "2025-04-15", {});
  CHECK(slow.standing.rule->confirmed == device::Confirmation::yes);
  device::DeviceSpec other = device::load_device(
      "h20_sxm", parse_overrides({"hbm.peak_rate=1400 GB/s", "nvlink.rate=100 GB/s"}));
  other.name = "mine";
  const ExportCheck disclosed = reports::export_check(other, rules(), "2025-04-15");
  CHECK(disclosed.standing.text() == kLetter);
  CHECK(disclosed.standing.rule->confirmed == device::Confirmation::no);
  other.hbm.peak_rate = core::BytesPerSecond{1.398e12};  // 1,398 + 2 x 164 = 1,726: the sum
  CHECK(reports::export_check(other, rules(), "2025-04-15").standing.text() == kLetter);
  other.nvlink.rate = core::BytesPerSecond{80e9};  // 1,398 + 288 = 1,686 < 1,700
  CHECK(reports::export_check(other, rules(), "2025-04-15").standing.text() == kNone);
}

TEST_CASE("what would change a class is the nearest threshold", "[config][export]") {
  const ExportCheck h100 = check("h100_sxm", "2023-10-17");
  REQUIRE(h100.changes.size() == 2);
  // From 4,800 (rather than 5.92 x 814 = 4,819) down it is b, from 2,400 down free.
  CHECK(h100.changes[0].threshold == 4800);
  CHECK(h100.changes[0].standing.class_text() == "3A090.b");
  CHECK(h100.changes[1].threshold == 2400);
  CHECK(h100.changes[1].standing.class_text() == kNone);
  const ExportCheck h20 = check("h20_sxm", "2023-10-17");
  REQUIRE(h20.changes.size() == 1);
  CHECK_FALSE(h20.changes[0].below);
  CHECK(h20.changes[0].threshold == 2400);
  CHECK_THAT(h20.margins.at(3).margin.value(), WithinRel(2368.1 / 2400 - 1, 1e-2));
  // At its highest clock H20 would be over: 78 x 1024 x 1.98 GHz x 16 = 2,530.
  REQUIRE(h20.at_boost.has_value());
  CHECK(h20.at_boost->class_text() == "3A090.b");
}

TEST_CASE("an unknown die area leaves the class open where it decides", "[config][export]") {
  const ExportCheck h20 = check_without("area", "h20_sxm");
  CHECK(h20.standing.text() == "3A090.a or 3A090.b or not controlled (die area unknown)");
  CHECK_FALSE(h20.figures.performance_density.has_value());
  CHECK_THAT(reports::to_text(h20, rules()), ContainsSubstring("unknown"));
  CHECK(check_without("area", "h100_sxm").standing.text() == kDenied);  // TPP alone decides
  CHECK(standing("h20_sxm", "2023-10-17", {"die.process=TSMC 28HP"}) ==
        "3A090.a or 3A090.b or not controlled (die area unknown)");
  CHECK(check("h200_sxm", "2023-10-17").figures.die_area_note == "unconfirmed");
  CHECK(check("h100_sxm", "2023-10-17").figures.die_area_note == "confirmed");
}

TEST_CASE("mistakes in a file of rules are told where they are", "[config][export]") {
  const std::string rule =
      "non_planar_processes: [TSMC N7]\nrules:\n  - name: mine\n    kind: control\n"
      "    class: X\n    consequence: licence required\n    confirmed: yes\n    source: s\n";
  const auto errors = [](const std::string& text) {
    return messages_of([&] {
      static_cast<void>(device::read_export_rules(
          core::ConfigDocument::from_text(text, "r.yaml", device::export_rule_options())));
    });
  };
  CHECK(errors(rule + "    from: 2022-02-30\n    any_of:\n      - tpp: {at_least: 1}\n") ==
        "r.yaml:9:11: error: rules.0.from: found '2022-02-30'; expected a date such as 2026-01-15");
  CHECK(errors(rule + "    from: 2022-03-01\n    until: 2022-03-01\n    any_of:\n"
                      "      - tpp: {at_least: 1}\n")
            .starts_with("r.yaml:10:12: error: rules.0.until: found a date that is not after the "
                         "first"));
  CHECK(errors(rule + "    from: 2022-03-01\n    any_of:\n      - io_bandwidth: {below: 600}\n")
            .starts_with("r.yaml:11:31: error: rules.0.any_of.0.io_bandwidth.below: "));
}

}  // namespace
}  // namespace tessera::config_test
