#include "models/workload/video_transformer.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/workload/architecture_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

VideoTransformer video(const char* name) {
  const auto loaded = load_video_transformer(name);
  REQUIRE(loaded);
  return *loaded;
}

TEST_CASE("video transformers have as many parameters as their names say", "[video]") {
  CHECK(parameters(video("wan2.2_t2v_a14b")) == Approx(14e9).margin(0.5e9));
  CHECK(parameters(video("hunyuan_video")) == Approx(13e9).margin(0.5e9));
}

TEST_CASE("a pass costs its linear layers and the square of its tokens", "[video]") {
  const VideoTransformer wan = video("wan2.2_t2v_a14b");
  // 21 latent frames of 45 x 80 patches.
  CHECK(video_tokens(wan, wan.example) == 21 * 45 * 80);
  const double n = 75600, d = 5120, f = 13824;
  const PassFlops flops = forward_flops(wan, wan.example);
  // 40 blocks; the text's keys and values and the attention to it add less than 1 %.
  CHECK(flops.linear == Approx(2 * 40 * n * (6 * d * d + 2 * d * f)).epsilon(0.01));
  CHECK(flops.attention == Approx(4 * 40 * n * n * d).epsilon(0.01));
  const VideoTransformer hunyuan = video("hunyuan_video");
  CHECK(video_tokens(hunyuan, hunyuan.example) == 33 * 45 * 80);
  const double both = 33 * 45 * 80 + 256, h = 3072;
  CHECK(forward_flops(hunyuan, hunyuan.example).linear == Approx(2 * 60 * both * 12 * h * h));
  CHECK(forward_flops(hunyuan, hunyuan.example).attention == Approx(4 * 60 * both * both * h));
}

TEST_CASE("a video transformer is no decoder", "[video]") {
  CHECK_FALSE(load_video_transformer("deepseek_v3"));
  try {
    static_cast<void>(load_architecture("hunyuan_video"));
    FAIL("not refused");
  } catch (const core::Refusal& refusal) {
    CHECK(refusal.kind() == core::RefusalKind::outside_model);
    CHECK(refusal.what() == std::string("hunyuan_video is a video diffusion transformer, which is "
                                        "described but not simulated; decoders of text are"));
  }
}

TEST_CASE("mistakes in a video transformer are told where they are", "[video]") {
  const auto mistakes = [](const std::string& text) -> std::string {
    try {
      const core::ConfigDocument document =
          core::ConfigDocument::from_text(text, "v.yaml", {.kind = "architecture"});
      static_cast<void>(read_video_transformer(document.root(), "v"));
      document.finish();
    } catch (const core::ConfigError& error) {
      return error.what();
    }
    return "";
  };
  const std::string head =
      "kind: video_diffusion\nhidden: 64\nintermediate: 256\n"
      "text_tokens: 8\ntext_hidden: 32\nchannels: 4\n"
      "compression: [4, 8, 8]\nexample: [5, 64, 64]\n";
  const std::string good = head + "heads: 4\ncross_blocks: 2\npatch: [1, 2, 2]\n";
  CHECK(mistakes(good).empty());
  CHECK(mistakes(head + "heads: 3\ncross_blocks: 2\npatch: [1, 2, 2]\n") ==
        "v.yaml:9:8: error: heads: found 3; expected a divisor of the 64 hidden elements (hidden: "
        "v.yaml:2:9)");
  CHECK(mistakes(head + "heads: 4\npatch: [1, 2, 2]\n") ==
        "v.yaml:1:1: error: cross_blocks: expected a block of some kind");
  CHECK(mistakes(head + "heads: 4\ncross_blocks: 2\npatch: [2, 2]\n") ==
        "v.yaml:11:1: error: patch: found 2 values; expected 3: frames, rows, columns");
}

}  // namespace
}  // namespace tessera::workload
