/// All-reduce and all-to-all between the GPUs of one node through NCCL, eager, as nccl-tests calls
/// them: one process, one stream a GPU.
#include <nccl.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/probes/collective_reference.hpp"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

void check_nccl(ncclResult_t status, std::source_location where = std::source_location::current()) {
  if (status != ncclSuccess)
    throw CudaFailure(std::string{where.file_name()} + ":" + std::to_string(where.line()) + ": " +
                      ncclGetErrorString(status));
}

std::string nccl_version() {
  int number = 0;
  check_nccl(ncclGetVersion(&number));  // major 10000 + minor 100 + patch
  return "NCCL " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
         std::to_string(number % 100);
}

__global__ void fill(int rank, std::int64_t count, std::uint16_t* values) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    values[i] = static_cast<std::uint16_t>(collective_input_bits(rank, i));
}

/// One GPU's part of a communicator.
struct Rank {
  explicit Rank(int device, std::int64_t count) : device(device) {
    check(cudaSetDevice(device));
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&stop));
    send = DeviceBuffer<std::uint16_t>{count};
    receive = DeviceBuffer<std::uint16_t>{count};
    fill<<<1024, 256, 0, stream>>>(device, count, send.data());
    check_launch();
    receive.poison();
    check(cudaStreamSynchronize(stream));
  }
  ~Rank() {
    cudaSetDevice(device);
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    cudaStreamDestroy(stream);
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  int device;
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  DeviceBuffer<std::uint16_t> send, receive;
};

/// Communicators of devices 0 to ranks - 1.
class Communicators {
 public:
  explicit Communicators(int ranks) : each_(static_cast<std::size_t>(ranks)) {
    check_nccl(ncclCommInitAll(each_.data(), ranks, nullptr));
  }
  ~Communicators() {
    for (ncclComm_t communicator : each_) ncclCommDestroy(communicator);
  }
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;
  [[nodiscard]] ncclComm_t operator[](std::size_t rank) const { return each_[rank]; }

 private:
  std::vector<ncclComm_t> each_;
};

using Ranks = std::vector<std::unique_ptr<Rank>>;

void enqueue(Collective collective, const Communicators& communicators, const Ranks& ranks,
             std::int64_t elements) {
  const auto count = static_cast<std::size_t>(elements);
  const std::size_t part = count / ranks.size();
  check_nccl(ncclGroupStart());
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const Rank& rank = *ranks[i];
    if (collective == Collective::all_reduce) {
      check_nccl(ncclAllReduce(rank.send.data(), rank.receive.data(), count, ncclHalf, ncclSum,
                               communicators[i], rank.stream));
      continue;
    }
    for (std::size_t peer = 0; peer < ranks.size(); ++peer) {
      check_nccl(ncclSend(rank.send.data() + peer * part, part, ncclHalf, static_cast<int>(peer),
                          communicators[i], rank.stream));
      check_nccl(ncclRecv(rank.receive.data() + peer * part, part, ncclHalf, static_cast<int>(peer),
                          communicators[i], rank.stream));
    }
  }
  check_nccl(ncclGroupEnd());
}

/// Time of `iterations` collectives one after another, of the slowest rank.
double batch_us(Collective collective, const Communicators& communicators, const Ranks& ranks,
                std::int64_t elements, int iterations) {
  for (const auto& rank : ranks) {
    check(cudaSetDevice(rank->device));
    check(cudaEventRecord(rank->start, rank->stream));
  }
  for (int i = 0; i < iterations; ++i) enqueue(collective, communicators, ranks, elements);
  double slowest = 0;
  for (const auto& rank : ranks) {
    check(cudaSetDevice(rank->device));
    check(cudaEventRecord(rank->stop, rank->stream));
  }
  for (const auto& rank : ranks) {
    float milliseconds = 0;
    check(cudaSetDevice(rank->device));
    check(cudaEventSynchronize(rank->stop));
    check(cudaEventElapsedTime(&milliseconds, rank->start, rank->stop));
    slowest = std::max(slowest, static_cast<double>(milliseconds) * 1e3);
  }
  return slowest;
}

double error_of(Collective collective, const Ranks& ranks, std::int64_t elements) {
  RelativeError error;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    check(cudaSetDevice(ranks[rank]->device));
    for (const Place& place : sampled_places(1, elements, 32, rank))
      error.add(decode(fp16_format(), ranks[rank]->receive.read(place.column)),
                collective_result(collective, static_cast<int>(rank),
                                  static_cast<int>(ranks.size()), elements, place.column));
  }
  return error.value();
}

void measure_size(ProbeSession& session, MeasurementFile& file, Collective collective,
                  const Communicators& communicators, int ranks_count, std::int64_t bytes) {
  const std::int64_t elements = bytes / 2;
  if (2 * bytes > session.free_bytes() / 2) throw NotSupported("does not fit the free memory");
  Ranks ranks;
  for (int device = 0; device < ranks_count; ++device)
    ranks.push_back(std::make_unique<Rank>(device, elements));
  const ReplayRequest& request = session.options().replay;
  const int iterations = collective_iterations(bytes);
  for (int i = 0; i < std::max(1, request.warm_up); ++i)
    batch_us(collective, communicators, ranks, elements, iterations);
  TimedRun run{.plan = {.state = OperandState::warm,
                        .operations = iterations,
                        .warm_up = request.warm_up,
                        .replays = request.replays}};
  std::vector<double> repeats;
  for (int i = 0; i < request.replays; ++i)
    repeats.push_back(batch_us(collective, communicators, ranks, elements, iterations) /
                      iterations);
  run.latency_us = summarize(repeats);
  check(cudaSetDevice(session.options().device));
  session.timer().clocks_now(run);
  const double error = error_of(collective, ranks, elements);
  check(cudaSetDevice(session.options().device));
  session.record(file, {.op = "nccl",
                        .dtype = "half",
                        .kernel = "NCCL",
                        .columns = {{"collective", collective_name(collective)},
                                    {"ranks", number_text(std::int64_t{ranks_count})},
                                    {"bytes", number_text(bytes)}},
                        .library = nccl_version(),
                        .timing = run,
                        .error = error,
                        .allowed_error = 0});
}

void list(const SizeLimits& limits) {
  for (const Collective collective : {Collective::all_reduce, Collective::all_to_all})
    for (const std::int64_t bytes : collective_sizes(limits))
      std::printf("%s bytes=%lld\n", collective_name(collective), static_cast<long long>(bytes));
}

void measure(ProbeSession& session) {
  int devices = 0;
  check(cudaGetDeviceCount(&devices));
  MeasurementFile file =
      session.open({.file = "comm_nccl", .shape = {"collective", "ranks", "bytes"}});
  if (devices < 2)
    return session.attempt("collectives", [] { throw NotSupported("there is one GPU only"); });
  for (int ranks = 2; ranks <= devices; ranks *= 2) {
    const Communicators communicators{ranks};
    for (const Collective collective : {Collective::all_reduce, Collective::all_to_all})
      for (const std::int64_t bytes : collective_sizes(session.limits()))
        session.attempt(
            std::string{collective_name(collective)} + " of " + std::to_string(bytes),
            [&] { measure_size(session, file, collective, communicators, ranks, bytes); });
  }
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_collectives", "All-reduce and all-to-all within a node through NCCL", list, measure},
      count, arguments);
}
