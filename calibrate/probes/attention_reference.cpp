#include "calibrate/probes/attention_reference.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

namespace tessera::calibrate::probes {

namespace {

/// softmax(scores) weighted sum of `width` values a key.
std::vector<double> weighted_values(const std::vector<double>& scores, std::int64_t width,
                                    const std::function<double(std::size_t, std::int64_t)>& value) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  std::vector<double> out(static_cast<std::size_t>(width), 0.0);
  double total = 0;
  for (std::size_t key = 0; key < scores.size(); ++key) {
    const double weight = std::exp(scores[key] - largest);
    total += weight;
    for (std::int64_t i = 0; i < width; ++i)
      out[static_cast<std::size_t>(i)] += weight * value(key, i);
  }
  for (double& element : out) element /= total;
  return out;
}

double element(std::uint64_t seed, std::int64_t index, float factor = 1) {
  return decode(bf16_format(), attention_bits(seed, index, factor));
}

}  // namespace

AttentionSeeds attention_seeds(int operand_set) {
  const auto set = static_cast<std::uint64_t>(operand_set);
  return {.q = 3 * set + 101, .k = 3 * set + 102, .v = 3 * set + 103};
}

std::vector<double> attention_row(const AttentionShape& shape, const AttentionSeeds& seeds,
                                  std::int64_t batch, std::int64_t head, std::int64_t query) {
  const std::int64_t dim = shape.head_dim;
  const std::int64_t position = shape.kv_length - shape.q_length + query;
  const std::int64_t begin =
      shape.window > 0 ? std::max<std::int64_t>(0, position - shape.window + 1) : 0;
  const std::int64_t end = shape.causal ? position + 1 : shape.kv_length;
  const std::int64_t kv_head = head / (shape.heads / shape.kv_heads);
  const auto key_at = [&](std::int64_t key) {
    return ((batch * shape.kv_length + key) * shape.kv_heads + kv_head) * dim;
  };
  const std::int64_t q_at = ((batch * shape.q_length + query) * shape.heads + head) * dim;
  std::vector<double> q;
  for (std::int64_t i = 0; i < dim; ++i) q.push_back(element(seeds.q, q_at + i, kQueryFactor));
  std::vector<double> scores;
  for (std::int64_t key = begin; key < end; ++key) {
    double score = 0;
    for (std::int64_t i = 0; i < dim; ++i)
      score += q[static_cast<std::size_t>(i)] * element(seeds.k, key_at(key) + i);
    scores.push_back(score / std::sqrt(static_cast<double>(dim)));
  }
  return weighted_values(scores, dim, [&](std::size_t key, std::int64_t i) {
    return element(seeds.v, key_at(begin + static_cast<std::int64_t>(key)) + i);
  });
}

std::vector<double> mla_decode_row(const MlaDecodeShape& shape, const AttentionSeeds& seeds,
                                   std::int64_t batch, std::int64_t head) {
  constexpr std::int64_t kKey = 576;
  constexpr std::int64_t kValue = 512;
  std::vector<double> q;
  for (std::int64_t i = 0; i < kKey; ++i)
    q.push_back(element(seeds.q, (batch * shape.heads + head) * kKey + i, kQueryFactor));
  const auto cached = [&](std::int64_t token, std::int64_t i) {
    return element(seeds.k, (batch * shape.kv_length + token) * kKey + i);
  };
  std::vector<double> scores;
  for (std::int64_t token = 0; token < shape.kv_length; ++token) {
    double score = 0;
    for (std::int64_t i = 0; i < kKey; ++i)
      score += q[static_cast<std::size_t>(i)] * cached(token, i);
    scores.push_back(score / std::sqrt(192.0));  // of the head before absorption: 128 + 64
  }
  return weighted_values(scores, kValue, [&](std::size_t token, std::int64_t i) {
    return cached(static_cast<std::int64_t>(token), i);
  });
}

}  // namespace tessera::calibrate::probes
