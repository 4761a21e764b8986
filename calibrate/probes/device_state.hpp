#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

/// What nvidia-smi says of a GPU.
namespace tessera::calibrate::probes {

/// One line of `nvidia-smi --query-gpu=kSmiQuery --format=csv,noheader,nounits`. A field that the
/// GPU does not report ("[N/A]") is none.
struct DeviceState {
  std::string name;
  std::string uuid;
  std::string driver;
  std::optional<double> sm_clock_mhz;
  std::optional<double> memory_clock_mhz;
  std::optional<double> most_sm_clock_mhz;
  std::optional<double> power_w;
  std::optional<double> power_limit_w;
  std::optional<double> temperature_c;
};

inline constexpr const char* kSmiQuery =
    "name,uuid,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,"
    "temperature.gpu";

/// None when the line has not the fields of kSmiQuery.
[[nodiscard]] std::optional<DeviceState> parse_device_state(const std::string& line);

/// Asks the program `smi` about the GPU of a UUID ("GPU-..."); none when it cannot be run or does
/// not know the GPU.
[[nodiscard]] std::optional<DeviceState> query_device_state(const std::string& smi,
                                                            const std::string& uuid);

/// "GPU-01234567-89ab-...": as nvidia-smi writes the 16 bytes of a UUID.
[[nodiscard]] std::string uuid_text(const unsigned char (&bytes)[16]);

/// The name under which Tessera knows a GPU (hw_configs/devices), or none: from the product name,
/// and where one name stands for several parts, from memory size.
[[nodiscard]] std::optional<std::string> tessera_device(const std::string& product,
                                                        std::int64_t memory_bytes);

/// Samples of board power and clock during a run: the first `settle` of them, taken while the load
/// rises and NVML's average lags, do not count.
struct PowerSummary {
  double power_w = 0;       ///< Mean.
  double sm_clock_mhz = 0;  ///< Median.
  int samples = 0;
};
[[nodiscard]] std::optional<PowerSummary> summarize_power(const std::vector<DeviceState>& samples,
                                                          std::size_t settle);

/// Reads what nvidia-smi says of a GPU every `interval_ms`, beside the work that it does.
class DeviceSampler {
 public:
  DeviceSampler(const std::string& smi, const std::string& uuid, int interval_ms);
  ~DeviceSampler();
  DeviceSampler(const DeviceSampler&) = delete;
  DeviceSampler& operator=(const DeviceSampler&) = delete;

  /// Ends the sampling; none when the program does not answer.
  std::vector<DeviceState> stop();

 private:
  std::atomic<bool> stopping_{false};
  std::vector<DeviceState> samples_;
  std::thread reader_;
};

}  // namespace tessera::calibrate::probes
