#include "models/workload/video_transformer.hpp"

#include <fmt/format.h>

#include <utility>

#include "models/workload/architecture_file.hpp"

namespace tessera::workload {
namespace {

using core::ConfigNode;
using std::int64_t;

constexpr int64_t kMaxWidth = 1 << 20;  // elements; far above any published layer
constexpr int64_t kMaxBlocks = 1 << 12;

double square(const VideoTransformer& v) {
  return static_cast<double>(v.hidden) * static_cast<double>(v.hidden);
}

/// Up and down projections.
double mlp(const VideoTransformer& v) {
  return 2 * static_cast<double>(v.hidden) * static_cast<double>(v.intermediate);
}

double of(int64_t count) { return static_cast<double>(count); }

Extent read_extent(const ConfigNode& node, std::string_view key) {
  const std::vector<int64_t> values = node.integers(key, 1, kMaxWidth);
  if (values.size() != 3) {
    if (node.sound())
      node.fail(key,
                fmt::format("found {} values; expected 3: frames, rows, columns", values.size()));
    return {};
  }
  return {.frames = values[0], .rows = values[1], .columns = values[2]};
}

int64_t blocks(const VideoTransformer& v) {
  return v.cross_blocks + v.double_blocks + v.single_blocks;
}

void check(const ConfigNode& root, const VideoTransformer& v) {
  if (blocks(v) == 0) root.fail("cross_blocks", "expected a block of some kind");
  if (v.hidden % v.heads != 0)
    root.at("heads").fail_against(
        root.at("hidden"),
        fmt::format("found {}; expected a divisor of the {} hidden elements", v.heads, v.hidden));
}

}  // namespace

double parameters(const VideoTransformer& v) {
  const double d2 = square(v);
  const double d = of(v.hidden);
  constexpr double kTimeFrequencies = 256;  // both: sinusoids of the time step
  constexpr double kPooledText = 768;       // HunyuanVideo: text_states_dim_2
  const bool joint = v.double_blocks + v.single_blocks > 0;
  // Queries, keys, values and output are 4 d^2; a modulation maps d to its scales and shifts.
  const double cross = of(v.cross_blocks) * (8 * d2 + mlp(v));
  const double twice = of(v.double_blocks) * 2 * (4 * d2 + mlp(v) + 6 * d2);
  const double single = of(v.single_blocks) * (4 * d2 + mlp(v) + 3 * d2);
  const double refiner = of(v.refiner_blocks) * (4 * d2 + mlp(v) + 2 * d2);
  const double pixels = of(v.channels * v.patch.frames * v.patch.rows * v.patch.columns);
  const double ends = 2 * pixels * d;  // patch embedding and the projection back
  const double time = kTimeFrequencies * d + d2;
  double embeddings = of(v.text_hidden) * d + d2;  // of the text
  // Cross blocks share one modulation; joint ones embed the guidance and a pooled text as well, the
  // refiner text and time once more, and the last layer has a modulation.
  embeddings += joint ? 2 * time + kPooledText * d + d2 + 2 * d2 : time + 6 * d2;
  if (v.refiner_blocks > 0) embeddings += of(v.text_hidden) * d + time;
  return cross + twice + single + refiner + ends + embeddings;
}

int64_t video_tokens(const VideoTransformer& v, const Extent& size) {
  const int64_t frames = (size.frames - 1) / v.compression.frames + 1;
  return frames / v.patch.frames * (size.rows / v.compression.rows / v.patch.rows) *
         (size.columns / v.compression.columns / v.patch.columns);
}

PassFlops forward_flops(const VideoTransformer& v, const Extent& size) {
  const double d2 = square(v);
  const double video = of(video_tokens(v, size));
  const double text = of(v.text_tokens);
  const double both = video + text;
  const double joint = of(v.double_blocks + v.single_blocks);
  PassFlops flops;
  // Text gives keys and values to cross blocks; joint blocks run both alike.
  flops.linear = 2 * of(v.cross_blocks) * (video * (6 * d2 + mlp(v)) + text * 2 * d2) +
                 2 * joint * both * (4 * d2 + mlp(v));
  flops.attention = 4 * of(v.hidden) * (of(v.cross_blocks) * video * both + joint * both * both);
  return flops;
}

bool is_video_transformer(const ConfigNode& root) {
  return root.has("kind") && root.text("kind") == "video_diffusion";
}

VideoTransformer read_video_transformer(const ConfigNode& root, std::string name) {
  VideoTransformer v;
  v.name = std::move(name);
  static_cast<void>(root.choice<int>("kind", {{"video_diffusion", 0}}));
  v.hidden = root.integer("hidden", 1, kMaxWidth);
  v.heads = root.integer("heads", 1, kMaxWidth);
  v.intermediate = root.integer("intermediate", 1, kMaxWidth);
  v.cross_blocks = root.integer_or("cross_blocks", 0, kMaxBlocks, 0);
  v.double_blocks = root.integer_or("double_blocks", 0, kMaxBlocks, 0);
  v.single_blocks = root.integer_or("single_blocks", 0, kMaxBlocks, 0);
  v.refiner_blocks = root.integer_or("refiner_blocks", 0, kMaxBlocks, 0);
  v.text_tokens = root.integer("text_tokens", 0, kMaxWidth);
  v.text_hidden = root.integer("text_hidden", 1, kMaxWidth);
  v.channels = root.integer("channels", 1, kMaxWidth);
  v.patch = read_extent(root, "patch");
  v.compression = read_extent(root, "compression");
  v.example = read_extent(root, "example");
  if (root.sound()) check(root, v);
  return v;
}

std::optional<VideoTransformer> load_video_transformer(const std::string& path_or_name,
                                                       core::LoadOptions options) {
  options.kind = "architecture";
  options.folder = kArchitectureFolder;
  const core::ConfigDocument document = core::ConfigDocument::load(path_or_name, options);
  if (!is_video_transformer(document.root())) return std::nullopt;
  VideoTransformer video = read_video_transformer(document.root(), document.name());
  document.finish();
  return video;
}

}  // namespace tessera::workload
