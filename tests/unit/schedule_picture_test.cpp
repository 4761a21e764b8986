#include "reports/schedule_picture.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

namespace tessera::reports {
namespace {

using namespace core::literals;
using Catch::Matchers::ContainsSubstring;

core::Timeline two_ranks() {
  core::Timeline timeline;
  timeline.processes = {{0, "pipeline rank 0 (stage 0)"},
                        {1, "pipeline rank 1 (stage 1)"},
                        {2, "kernels of rank 0, one instruction of each kind"}};
  timeline.spans = {
      {0, 0, "F 0", "forward", 0_us, 10_us},   {0, 0, "bubble", "bubble", 10_us, 20_us},
      {0, 0, "B 0", "backward", 30_us, 20_us}, {0, 1, "reduce_scatter", "optimizer", 50_us, 90_us},
      {1, 0, "F 0", "forward", 10_us, 10_us},  {1, 0, "Bi 0", "backward", 20_us, 10_us},
      {1, 0, "W 0", "weight", 40_us, 10_us},   {2, 0, "layer 0 q_up", "forward", 0_us, 400_us}};
  return timeline;
}

TEST_CASE("a picture holds what ranks compute, and nothing else", "[picture]") {
  const SchedulePicture picture = schedule_picture(two_ranks(), "a step");
  CHECK(picture.rows == std::vector<std::string>{"rank 0", "rank 1"});
  REQUIRE(picture.boxes[1].size() == 3);
  CHECK(picture.boxes[0].size() == 2);
  CHECK(picture.boxes[1][1].kind == "input_gradient");
  CHECK(picture.end == Catch::Approx(50e-6));
  CHECK(picture.idle() == Catch::Approx(0.4));  // 20 + 20 of 100
}

TEST_CASE("the strip has one line a rank, boxes as wide as their times", "[picture]") {
  const SchedulePicture picture = schedule_picture(two_ranks(), "a step");
  CHECK(to_strip(picture, {.width = 40}) ==
        "rank 0 F0  ........B0      \n"
        "rank 1 ....F0  I0  ....W0  \n"
        "F forward, B backward, I input gradient, W weight gradient, . idle (40.0 %)\n");
  CHECK_THAT(to_strip(picture, {.width = 40, .colour = true}),
             ContainsSubstring("\033[30;48;5;68mF0  \033[0m....") && !ContainsSubstring("....\n"));
}

TEST_CASE("a strip too narrow for every box still shows the columns' middles", "[picture]") {
  SchedulePicture picture{.title = "", .unit = "", .rows = {"r"}, .boxes = {{}}, .end = 100};
  for (int i = 0; i < 100; ++i) {
    picture.boxes[0].push_back(
        {"F " + std::to_string(i), i < 50 ? "forward" : "weight", double(i), double(i + 1)});
  }
  const std::string strip = to_strip(picture, {.width = 42});
  CHECK(strip.substr(0, 43) == "r " + std::string(20, 'F') + std::string(20, 'W') + "\n");
}

TEST_CASE("the SVG names every box and escapes what is written in it", "[picture]") {
  SchedulePicture picture = schedule_picture(two_ranks(), "a < b");
  picture.boxes[0][0].label = "F 1 & B 0";
  picture.boxes[0][0].kind = "overlapped";
  const std::string svg = to_svg(picture);
  CHECK_THAT(svg, ContainsSubstring("<title>a &lt; b</title>") &&
                      ContainsSubstring("F 1 &amp; B 0") && ContainsSubstring("weight gradient"));
  CHECK_THAT(svg, ContainsSubstring("x=\"70.00\" y=\"52.0\" width=\"240.00\" height=\"9.0\""));
  CHECK_THAT(svg, ContainsSubstring("x=\"790.00\" y=\"52.0\" width=\"480.00\" height=\"18.0\""));
}

}  // namespace
}  // namespace tessera::reports
