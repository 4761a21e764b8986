#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "calibrate/probes/cuda_status.cuh"

namespace tessera::calibrate::probes {

/// `count` elements in device memory. Throws NotSupported when there is not enough of it.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::int64_t count) : count_(count) {
    if (count <= 0) return;
    const cudaError_t status = cudaMalloc(&data_, static_cast<std::size_t>(count) * sizeof(T));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // clears it
      throw NotSupported("the GPU has not that much free memory");
    }
    check(status);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t size() const { return count_; }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }

  /// Every byte 0xFF: NaN in all float formats here, so that what nobody writes does not verify.
  void poison() { check(cudaMemset(data_, 0xFF, bytes())); }
  void upload(const std::vector<T>& host) {
    check(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  [[nodiscard]] T read(std::int64_t index) const {
    T value;
    check(cudaMemcpy(&value, data_ + index, sizeof(T), cudaMemcpyDeviceToHost));
    return value;
  }
  [[nodiscard]] std::vector<T> download() const {
    std::vector<T> host(static_cast<std::size_t>(count_));
    check(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  std::int64_t count_ = 0;
};

}  // namespace tessera::calibrate::probes
