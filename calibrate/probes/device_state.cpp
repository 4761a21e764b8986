#include "calibrate/probes/device_state.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "calibrate/probes/repeat_statistics.hpp"

namespace tessera::calibrate::probes {

namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::size_t start = 0;
  while (true) {
    const std::size_t comma = line.find(',', start);
    fields.push_back(trimmed(line.substr(start, comma - start)));
    if (comma == std::string::npos) return fields;
    start = comma + 1;
  }
}

std::optional<double> number(const std::string& field) {
  char* end = nullptr;
  const double value = std::strtod(field.c_str(), &end);
  if (field.empty() || *end != '\0') return std::nullopt;
  return value;
}

/// 'text' as one word of a shell command.
std::string quoted(const std::string& text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string{"'\\''"} : std::string{c};
  return word + "'";
}

/// The command that prints a GPU's state once, or every so often with `more`.
std::string smi_command(const std::string& smi, const std::string& uuid, const std::string& more) {
  return "exec " + quoted(smi) + " --query-gpu=" + kSmiQuery +
         " --format=csv,noheader,nounits --id=" + quoted(uuid) + more + " 2>/dev/null";
}

}  // namespace

std::optional<DeviceState> parse_device_state(const std::string& line) {
  const std::vector<std::string> fields = fields_of(line);
  if (fields.size() != 9 || !fields[1].starts_with("GPU-")) return std::nullopt;
  return DeviceState{.name = fields[0],
                     .uuid = fields[1],
                     .driver = fields[2],
                     .sm_clock_mhz = number(fields[3]),
                     .memory_clock_mhz = number(fields[4]),
                     .most_sm_clock_mhz = number(fields[5]),
                     .power_w = number(fields[6]),
                     .power_limit_w = number(fields[7]),
                     .temperature_c = number(fields[8])};
}

std::optional<DeviceState> query_device_state(const std::string& smi, const std::string& uuid) {
  const std::string command = smi_command(smi, uuid, "");
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe{popen(command.c_str(), "r"), pclose};
  std::array<char, 1024> line{};
  if (!pipe || std::fgets(line.data(), static_cast<int>(line.size()), pipe.get()) == nullptr)
    return std::nullopt;
  return parse_device_state(line.data());
}

std::string uuid_text(const unsigned char (&bytes)[16]) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", bytes[i]);
    text += digits.data();
  }
  return text;
}

std::optional<std::string> tessera_device(const std::string& product, std::int64_t memory_bytes) {
  constexpr std::int64_t kGigabyte = 1'000'000'000;
  struct Part {
    const char* product;        ///< Part of the product name; the first that is found counts.
    std::int64_t below_memory;  ///< Parts of one name differ in memory.
    const char* device;
  };
  constexpr std::int64_t kAny = INT64_MAX;
  static constexpr Part kParts[] = {
      {"A100-SXM4-40GB", kAny, "a100_40gb"},
      {"A100-SXM", kAny, "a100_sxm"},
      {"A800-SXM", kAny, "a800_sxm"},
      {"H100 80GB HBM3", kAny, "h100_sxm"},
      {"H800", kAny, "h800_sxm"},
      {"H200", kAny, "h200_sxm"},
      {"H20", 110 * kGigabyte, "h20_sxm"},
      {"H20", kAny, "h20_141gb"},
      {"GB200", kAny, "gb200"},
      {"GB300", kAny, "gb300"},
      {"B200", kAny, "b200_sxm"},
      {"B300", kAny, "b300_sxm"},
      {"L40S", kAny, "l40s"},
      {"RTX PRO 6000", kAny, "rtx_pro_6000_server"},
  };
  for (const Part& part : kParts)
    if (product.find(part.product) != std::string::npos && memory_bytes < part.below_memory)
      return part.device;
  return std::nullopt;
}

std::optional<PowerSummary> summarize_power(const std::vector<DeviceState>& samples,
                                            std::size_t settle) {
  std::vector<double> clocks;
  double power_sum = 0;
  PowerSummary summary;
  for (std::size_t i = settle; i < samples.size(); ++i) {
    if (!samples[i].power_w || !samples[i].sm_clock_mhz) continue;
    power_sum += *samples[i].power_w;
    clocks.push_back(*samples[i].sm_clock_mhz);
    ++summary.samples;
  }
  if (summary.samples == 0) return std::nullopt;
  summary.power_w = power_sum / summary.samples;
  summary.sm_clock_mhz = summarize(clocks).median;
  return summary;
}

DeviceSampler::DeviceSampler(const std::string& smi, const std::string& uuid, int interval_ms)
    : reader_([this, command = smi_command(smi, uuid, " -lms " + std::to_string(interval_ms))] {
        FILE* pipe = popen(command.c_str(), "r");
        if (pipe == nullptr) return;
        std::array<char, 1024> line{};
        while (!stopping_ &&
               std::fgets(line.data(), static_cast<int>(line.size()), pipe) != nullptr)
          if (auto state = parse_device_state(line.data())) samples_.push_back(std::move(*state));
        pclose(pipe);  // the program ends at its next line, which nobody reads
      }) {}

DeviceSampler::~DeviceSampler() {
  if (reader_.joinable()) stop();
}

std::vector<DeviceState> DeviceSampler::stop() {
  stopping_ = true;
  reader_.join();
  return std::move(samples_);
}

}  // namespace tessera::calibrate::probes
