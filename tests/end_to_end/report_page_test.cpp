#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "reports/activity.hpp"
#include "reports/report.hpp"
#include "reports/study_page.hpp"
#include "tests/end_to_end/web_driver.hpp"
#include "tests/sample_result.hpp"
#include "tests/sample_study.hpp"
#include "tests/temporary_folder.hpp"
#include "tests/trace_rules.hpp"

namespace {

namespace fs = std::filesystem;
using tessera::testing::Browser;
using tessera::testing::sample_result;

/// Starts a browser, or skips the test where there is none; in CI a missing browser is an error.
std::unique_ptr<Browser> start_browser() {
  if (!Browser::is_there()) {
    if (std::getenv("CI") != nullptr) FAIL("chromium and chromium-driver are missing");
    SKIP("chromium and chromium-driver are missing");
  }
  return std::make_unique<Browser>();
}

/// Scrolls through the page, so that every chart is drawn, and waits for all of them.
bool draw_all_charts(Browser& browser) {
  browser.evaluate("document.querySelectorAll('[data-figure]').forEach(e => e.scrollIntoView());");
  for (const auto& id :
       browser.evaluate("return [...document.querySelectorAll('[data-figure]')].map(e => e.id);")) {
    const std::string element = "document.getElementById('" + id.get<std::string>() + "')";
    browser.evaluate(element + ".scrollIntoView();");
    if (!browser.wait_for("return " + element + ".querySelectorAll('svg path').length > 3;"))
      return false;
  }
  return true;
}

nlohmann::json json_file(const fs::path& path) {
  std::ifstream file{path};
  return nlohmann::json::parse(file);
}

int as_int(const nlohmann::json& value) { return value.get<int>(); }

}  // namespace

TEST_CASE("report.html opens offline in a browser and shows its numbers and charts", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  browser->open(tessera::reports::write_all(sample_result(), directory.path()));

  CHECK(browser->evaluate("return document.title;") == "Sample <model> on 2,048 H800");
  CHECK(browser->evaluate("return document.getElementById('quantity-step_time').textContent;") ==
        "19.50 s");
  CHECK(browser->evaluate("return document.querySelector('#published tbody tr').innerText;") ==
        "Step time\t19.93 s\t19.50 s\t-2.1 %\ta paper, table 4");
  REQUIRE(draw_all_charts(*browser));
  // Legend of the phases: six phases; ticks of the memory chart: four ranks.
  CHECK(browser->evaluate("return [...document.querySelectorAll('#figure-phases text')]"
                          ".map(t => t.textContent).includes('1F1B');") == true);
  // Ranks by layer before and after the balancer, in the same colours: up to 1.7 times the mean.
  for (const char* map : {"linear", "eplb"}) {
    const std::string element = std::string("document.querySelectorAll('#figure-rank-loads-") + map;
    CHECK(as_int(browser->evaluate("return " + element + " svg path').length;")) >= 6 * 8);
    CHECK(browser->evaluate("return [..." + element +
                            " text')].some(t => t.textContent.startsWith('1.7') && "
                            "t.textContent.endsWith('x mean'));") == true);
    CHECK(browser->evaluate("return [..." + element +
                            " text')].some(t => t.textContent === 'layer with experts');") == true);
  }
  CHECK(browser->evaluate("return document.querySelector('#figure-rank-loads-eplb')"
                          ".closest('figure').querySelector('figcaption').textContent;") ==
        "Token rows of each rank over the mean, experts placed by the load balancer: the hottest "
        "rank of a layer has 10.0 % more than the mean, as a mean over 6 layers.");
  // 4 kernels with FLOPs and a roof each for fp8_block and bf16.
  CHECK(browser->evaluate("return [...document.querySelectorAll('#figure-roofline text')]"
                          ".some(t => t.textContent.includes('1.98 PFLOP/s'));") == true);
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("the report of a simulated step opens in a browser, its trace is valid", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  const fs::path out = directory.at("run");
  const std::string command = std::string(TESSERA_PROGRAM) +
                              " run deepseek_v3_pretrain_h800 --fidelity analytical --no-cache "
                              "--sensitivity --out " +
                              out.string() + " > " + (directory.at("table.txt")).string();
  REQUIRE(std::system(command.c_str()) == 0);
  const auto result = json_file(out / "result.json");
  CHECK(tessera::testing::trace_errors(json_file(out / "spans.json")) ==
        std::vector<std::string>{});

  browser->open(out / "report.html");
  const double step = result["quantities"]["step_time"]["value"];
  CHECK(browser->evaluate("return Number(document.getElementById('quantity-step_time')"
                          ".dataset.value);") == step);
  REQUIRE(draw_all_charts(*browser));
  CHECK(as_int(browser->evaluate("return document.querySelectorAll('[data-figure]').length;")) ==
        6);  // phases, dollars, memory, timeline, roofline, sensitivity
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("report.html answers to its controls", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  browser->open(tessera::reports::write_all(sample_result(), directory.path()));
  REQUIRE(draw_all_charts(*browser));

  const std::string first_kernel =
      "return document.querySelector('#kernels tbody tr').cells[0].textContent;";
  CHECK(browser->evaluate(first_kernel) == "routed_experts_gate_up");  // most of the step
  browser->evaluate("document.querySelectorAll('#kernels th button')[3].click();");
  CHECK(browser->evaluate(first_kernel) == "rms_norm");  // the shortest call
  browser->evaluate("document.querySelectorAll('#kernels th button')[0].click();");
  CHECK(browser->evaluate(first_kernel) == "attention_forward");  // by name

  const std::string shapes =
      "return document.querySelectorAll('#figure-timeline svg path').length;";
  const int one_rank = as_int(browser->evaluate(shapes));
  browser->evaluate(
      "const s = document.getElementById('timeline-process'); s.value = 'all';"
      "s.dispatchEvent(new Event('change'));");
  CHECK(as_int(browser->evaluate(shapes)) > 2 * one_rank);  // 4 ranks of 81, one rank of 101
  CHECK(browser->evaluate("return decodeURIComponent(document.getElementById('kernels-csv').href)"
                          ".split('\\n').length;") == 7);  // head, 5 kernels, final newline
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("a comparison page shows its results side by side", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  const auto first = sample_result();
  auto second = sample_result();
  second.quantities[0].second.value = 11.5;
  tessera::core::Result refused;
  refused.refused = "does_not_fit: 96 GB of 80 GB";
  browser->open(tessera::reports::write_comparison_html(
      "Two and one", {{"a", &first}, {"b", &second}, {"c", &refused}}, directory.path()));

  REQUIRE(draw_all_charts(*browser));
  CHECK(browser->evaluate("return document.querySelector('#comparison tbody tr').cells[2]"
                          ".dataset.value;") == "11.5");
  CHECK(browser->evaluate("return document.querySelector('.refused').textContent;") ==
        "c refused. does_not_fit: 96 GB of 80 GB");
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("a study's page answers first and shows every point", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  const fs::path file = directory.at("study.html");
  const std::string csv = "point,tokens\n0,\"1,5\"\n1,2\n";
  std::ofstream(file) << tessera::reports::to_study_html(tessera::testing::sample_study(), csv);
  browser->download_into(directory.path());
  browser->open(file);

  CHECK(browser->evaluate("return document.title;") == "Decode of <R1> on two devices");
  CHECK(browser->evaluate("return document.querySelector('#answer').innerText;") ==
        "h200_sxm wins: 0.500 against 0.600 USD, the intervals overlap.");
  // The answer stands above everything else that has text below the title.
  CHECK(browser->evaluate("return document.querySelector('header').children[2].id;") == "answer");
  REQUIRE(draw_all_charts(*browser));
  // The front: a series a device, read back from the legend; four dots and a dashed line.
  const std::string texts =
      "[...document.querySelectorAll('#figure-study-front text')].map(t => t.textContent)";
  CHECK(browser->evaluate("return " + texts + ".includes('h20_sxm');") == true);
  CHECK(browser->evaluate("return " + texts + ".includes('h200_sxm');") == true);
  CHECK(browser->evaluate("return " + texts + ".includes('Tokens per second per user');") == true);
  // The waterfall's labels: attention 2/5 and experts 3/5 of 0.50 USD, then their sum.
  const std::string costs =
      "[...document.querySelectorAll('#figure-study-cost text')].map(t => t.textContent)";
  for (const std::string amount : {"0.2 USD", "0.3 USD", "0.5 USD"})
    CHECK(browser->evaluate("return " + costs + ".includes('" + amount + "');") == true);
  browser->evaluate(
      "const s = document.getElementById('study-cost-choice'); s.value = '1';"
      "s.dispatchEvent(new Event('change'));");
  CHECK(browser->evaluate("return " + costs + ".includes('0.6 USD');") == true);

  const std::string first =
      "return document.querySelector('#points tbody tr').cells[1].textContent;";
  CHECK(browser->evaluate(first) == "cluster h20_sxm, sequences 8");
  browser->evaluate("document.querySelectorAll('#points th button')[2].click();");
  browser->evaluate("document.querySelectorAll('#points th button')[2].click();");
  CHECK(browser->evaluate(first) == "cluster h200_sxm, sequences 64");  // most tokens
  CHECK(browser->evaluate("return document.querySelector('#refused tbody tr').innerText;") ==
        "cluster h20_sxm, sequences 512\tDoes not fit\tneeds 200 GB of 96 GB <here>");
  CHECK(browser->evaluate("return document.querySelector('#assumptions .grade').textContent;") ==
        "assumed");

  browser->evaluate("document.getElementById('points-csv').click();");
  const fs::path saved = directory.at("points.csv");
  for (int attempt = 0; attempt < 100 && !fs::exists(saved); ++attempt) usleep(100'000);
  std::ifstream stream{saved};
  CHECK(std::string{std::istreambuf_iterator<char>{stream}, {}} == csv);
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("both kinds of page work in the dark and on a phone", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  const fs::path study = directory.at("study.html");
  std::ofstream(study) << tessera::reports::to_study_html(tessera::testing::sample_study(), "a\n");
  for (const fs::path& file :
       {tessera::reports::write_all(sample_result(), directory.at("run")), study}) {
    INFO(file.filename());
    browser->prefer_dark(false);
    browser->resize(1280, 1000);
    browser->open(file);
    const std::string paper = "return getComputedStyle(document.body).backgroundColor;";
    const std::string ink =
        "return document.querySelector('[data-figure] text')?."
        "getAttribute('fill');";
    REQUIRE(draw_all_charts(*browser));
    CHECK(browser->evaluate(paper) == "rgb(255, 255, 255)");
    const auto light = browser->evaluate(ink);
    browser->prefer_dark(true);
    CHECK(browser->evaluate(paper) == "rgb(21, 23, 27)");
    CHECK(
        browser->wait_for("const now = document.querySelector('[data-figure] text')?."
                          "getAttribute('fill'); return now !== '" +
                          light.get<std::string>() + "';"));
    browser->resize(375, 800);
    REQUIRE(draw_all_charts(*browser));
    // Tables scroll in windows of their own; the page itself does not.
    CHECK(as_int(browser->evaluate("return document.documentElement.scrollWidth;")) <= 375);
    CHECK(browser->evaluate("return [...document.querySelectorAll('.chart svg')].every("
                            "s => s.getBoundingClientRect().width <= 375);") == true);
    CHECK(browser->console_problems().empty());
    CHECK(browser->network_requests().empty());
  }
}

TEST_CASE("the timeline of a kernel shows each SM", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  tessera::core::Activity activity{.cycles = 400, .bin_cycles = 100};
  activity.tracks = {{"tensor pipe", "of its cycles", {{1, 0.5, 1, 0}, {0.25, 1, 1, 1}}},
                     {"HBM", "of what it can move", {{0.5, 0.25, 0, 0}}}};
  const fs::path file = directory.at("timeline.html");
  std::ofstream(file) << tessera::reports::to_activity_html("gemm <a>", activity);
  browser->open(file);
  REQUIRE(draw_all_charts(*browser));
  CHECK(browser->evaluate("return document.title;") == "gemm <a>");
  CHECK(browser->evaluate("return document.querySelectorAll('#activity-track option').length;") ==
        2);
  CHECK(browser->console_problems().empty());
  CHECK(browser->network_requests().empty());
}

TEST_CASE("the browser of these tests notices errors and requests", "[report]") {
  const auto browser = start_browser();
  const tessera::testing::TemporaryFolder directory;
  // Port 9 of this machine answers nobody; the request is made all the same.
  std::ofstream{directory.at("bad.html")}
      << "<!doctype html><title>bad</title><img src='http://127.0.0.1:9/x.png'>"
         "<script>missing.call();</script>";
  browser->open(directory.at("bad.html"));
  CHECK(browser->console_problems().size() >= 1);
  CHECK(browser->network_requests() == std::vector<std::string>{"http://127.0.0.1:9/x.png"});
}
