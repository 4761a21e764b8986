#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::workload {

/// Frames, rows and columns.
struct Extent {
  std::int64_t frames = 1, rows = 1, columns = 1;
};

/// A transformer that denoises latent videos, told by a text. Described and counted only: it is
/// neither trained nor served here.
struct VideoTransformer {
  std::string name;
  std::int64_t hidden = 0;
  std::int64_t heads = 0;
  std::int64_t intermediate = 0;    ///< Of the ungated MLP.
  std::int64_t cross_blocks = 0;    ///< Attention of the video, attention to the text, MLP.
  std::int64_t double_blocks = 0;   ///< Joint attention; video and text with weights of their own.
  std::int64_t single_blocks = 0;   ///< Joint attention beside the MLP, on both with one weight.
  std::int64_t refiner_blocks = 0;  ///< Attention and MLP over the text before the others.
  std::int64_t text_tokens = 0;
  std::int64_t text_hidden = 0;  ///< Elements of a token of the text encoder.
  std::int64_t channels = 0;     ///< Of the latent video.
  Extent patch;                  ///< Latent elements of a token.
  Extent compression;            ///< Pixels of a latent element; the first frame stands alone.
  Extent example;                ///< Frames and pixels of a published use.
};

/// Matrices of blocks, their modulations and the embeddings of text, patches and time; biases and
/// norms, some 0.1 %, are not counted. Source: Wan-Video/Wan2.2, wan/modules/model.py;
/// Tencent/HunyuanVideo, hyvideo/modules/models.py.
[[nodiscard]] double parameters(const VideoTransformer& video);
/// Tokens of a video of `size` pixels and frames.
[[nodiscard]] std::int64_t video_tokens(const VideoTransformer& video, const Extent& size);

/// FLOPs of one pass over one video.
struct PassFlops {
  double linear = 0;
  double attention = 0;
};
[[nodiscard]] PassFlops forward_flops(const VideoTransformer& video, const Extent& size);

/// Whether a description is one of a video transformer: `kind: video_diffusion`.
[[nodiscard]] bool is_video_transformer(const core::ConfigNode& root);
/// Reads one; mistakes are reported through the document.
[[nodiscard]] VideoTransformer read_video_transformer(const core::ConfigNode& root,
                                                      std::string name);
/// The video transformer of an architecture file; nothing where the file is of another kind. Throws
/// core::ConfigError.
[[nodiscard]] std::optional<VideoTransformer> load_video_transformer(
    const std::string& path_or_name, core::LoadOptions options = {});

}  // namespace tessera::workload
