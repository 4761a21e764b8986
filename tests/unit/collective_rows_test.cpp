#include "calibrate/collective_rows.hpp"

#include <catch2/catch_test_macros.hpp>

#include "calibrate/csv_table.hpp"
#include "sim/app/collective_batch.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

// Times are made up; the shape of the columns is that of the measurements.
const char* const kNccl =
    "gpu,framework,version,op,dtype,kernel,collective,ranks,bytes,latency_us,split\n"
    "h100_sxm,nccl,1,nccl,half,NCCL,all_reduce,8,1048576,30,calib\n"
    "mi300x,nccl,1,nccl,half,NCCL,all_reduce,8,1048576,90,calib\n"
    "h100_sxm,nccl,1,nccl,int8,NCCL,alltoall,4,4096,9,calib\n";
const char* const kNormal =
    "gpu,framework,version,op,dtype,kernel,nodes,tokens_per_rank,hidden,topk,experts,sms,"
    "dispatch_us,dispatch_notify_us,combine_us,combine_notify_us,split\n"
    "h100_sxm,s,1,deepep_normal,x,deepep,2,4096,7168,8,256,24,750,50,1700,50,calib\n"
    "h100_sxm,s,1,deepep_normal,x,deepep,8,4096,7168,8,256,24,5000,50,9000,50,calib\n";

TEST_CASE("rows of nccl-tests become collectives; unknown GPUs are left out and counted",
          "[collective_rows]") {
  MeasuredClusters clusters;
  std::map<std::string, std::size_t> reasons;
  const auto rows =
      collective_rows(CsvTable::parse(kNccl, "nccl"), "comm_nccl", clusters, true, &reasons);
  REQUIRE(rows.size() == 2);
  CHECK(reasons == std::map<std::string, std::size_t>{{"no node is described for mi300x", 1}});
  CHECK(rows[0].group == "all_reduce half");
  const auto& request = std::get<fabric::CollectiveRequest>(rows[0].request);
  CHECK(request.ranks.size() == 8);
  CHECK(request.bytes == core::Bytes{1'048'576});
  CHECK(rows[1].line == 2);
  CHECK(std::get<fabric::CollectiveRequest>(rows[1].request).kind ==
        fabric::CollectiveKind::all_to_all);
}

TEST_CASE("a DeepEP row holds a dispatch in FP8 and a combine in BF16", "[collective_rows]") {
  MeasuredClusters clusters;
  const CsvTable table = CsvTable::parse(kNormal, "normal");
  const auto all = collective_rows(table, "comm_deepep_normal", clusters, false);
  CHECK(all.size() == 4);
  // Eight nodes were congested: never fitted to.
  const auto trusted = collective_rows(table, "comm_deepep_normal", clusters, true);
  REQUIRE(trusted.size() == 2);
  const auto& dispatch = std::get<fabric::ExchangeRequest>(trusted[0].request);
  const auto& combine = std::get<fabric::ExchangeRequest>(trusted[1].request);
  CHECK(dispatch.type == core::DataType::fp8_block);
  CHECK(combine.type == core::DataType::bf16);
  CHECK(dispatch.ranks.size() == 16);
  CHECK(dispatch.sms == 24);
  CHECK(trusted[1].measured_us == 1700);
}

TEST_CASE("a library's all-reduce row names its library, elements and launch",
          "[collective_rows]") {
  MeasuredClusters clusters;
  const CsvTable table = CsvTable::parse(
      "gpu,framework,version,op,dtype,kernel,ranks,elements,impl,backend,latency_us,split\n"
      "h100_sxm,vllm,1,custom_allreduce,bfloat16,vLLM_custom_graph,4,1024,,vllm_graph,5,calib\n"
      "h100_sxm,sglang,1,custom_allreduce,bfloat16,SGLang_CustomAllReduce_eager,8,64,,x,30,calib\n"
      "h100_sxm,other,1,custom_allreduce,bfloat16,x,8,64,,x,30,calib\n",
      "reduce");
  std::map<std::string, std::size_t> reasons;
  const auto rows = collective_rows(table, "comm_custom_allreduce", clusters, true, &reasons);
  REQUIRE(rows.size() == 2);
  CHECK(reasons.size() == 1);
  const auto& graph = std::get<fabric::DirectReduceRequest>(rows[0].request);
  CHECK(graph.library == fabric::ReduceLibrary::vllm);
  CHECK(graph.bytes == core::Bytes{2048});
  CHECK_FALSE(graph.eager);
  const auto& eager = std::get<fabric::DirectReduceRequest>(rows[1].request);
  CHECK(eager.library == fabric::ReduceLibrary::sglang);
  CHECK(eager.eager);
}

TEST_CASE("torch.distributed's ranks lie on the nodes that the row names", "[collective_rows]") {
  MeasuredClusters clusters;
  const CsvTable table = CsvTable::parse(
      "gpu,framework,version,dtype,collective,ranks,ranks_per_node,bytes,latency_us,split\n"
      "h100_sxm,t,1,fp16,all_reduce,4,2,2048,40,calib\n"
      "a100_sxm,t,1,fp16,all_reduce,4,2,2048,40,calib\n"
      "a100_pairwise_nvlink,t,1,fp16,send_recv,2,2,2048,4,calib\n",
      "vidur");
  std::map<std::string, std::size_t> reasons;
  const auto rows = collective_rows(table, "comm_vidur", clusters, true, &reasons);
  REQUIRE(rows.size() == 2);
  // Nobody says what joins the A100 servers.
  CHECK(reasons.size() == 1);
  CHECK(rows[0].nodes == 2);
  CHECK(std::get<fabric::CollectiveRequest>(rows[0].request).ranks == std::vector<int>{0, 1, 8, 9});
  // Two of a bridged pair: over NVLink, though PCIe joins the pairs.
  CHECK(clusters.cluster("a100_pairwise_nvlink", 1).joined_by_nvlink({0, 1}));
  CHECK_FALSE(clusters.cluster("a100_pairwise_nvlink", 1).joined_by_nvlink({1, 2}));
}

TEST_CASE("GPUs find their servers, and a rack's GPUs are one domain", "[collective_rows]") {
  MeasuredClusters clusters;
  CHECK(clusters.node("h20_sxm").name == "hgx_h20");
  CHECK(clusters.node("h20_141gb").name == "hgx_h20_141gb");
  CHECK(clusters.node("rtx_pro_6000_server").name == "rtx_pro_6000_pcie");
  CHECK(clusters.node("l40s").name == "l40s_pcie");
  CHECK(clusters.cluster("gb200", 1).gpus() == 72);
  const CsvTable table = CsvTable::parse(
      "gpu,framework,version,op,dtype,kernel,collective,ranks,bytes,latency_us,split,"
      "ranks_per_node\n"
      "gb200,nccl,1,nccl,half,NCCL,all_reduce,16,1048576,30,calib,4\n"
      "h100_sxm,nccl,1,nccl,half,NCCL,all_reduce,16,1048576,90,calib,8\n",
      "nccl");
  const auto rows = collective_rows(table, "comm_nccl", clusters, true);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].domains == 1);
  CHECK(rows[1].domains == 2);
  const auto predicted =
      predict(rows, clusters, fabric::load_parameters(clusters.device("h100_sxm")));
  CHECK(predicted[1].microseconds > predicted[0].microseconds);
}

TEST_CASE("a batch keeps order and leaves empty what it cannot predict", "[collective_rows]") {
  CsvTable table = CsvTable::parse(kNccl, "nccl");
  std::map<std::string, std::size_t> reasons;
  app::predict_collectives(table, "comm_nccl", "", reasons);
  CHECK(table.number(0, "lower_us").value() < table.number(0, "predicted_us").value());
  CHECK(table.number(0, "predicted_us").value() < table.number(0, "upper_us").value());
  CHECK(table.text(1, "predicted_us").empty());
  CHECK(table.text(2, "collective") == "alltoall");
  CHECK(reasons.begin()->second == 1);

  CsvTable exchange = CsvTable::parse(kNormal, "normal");
  app::predict_collectives(exchange, "comm_deepep_normal", "", reasons);
  CHECK(exchange.number(0, "predicted_combine_us").value() >
        exchange.number(0, "predicted_dispatch_us").value());
  CHECK(exchange.has("upper_dispatch_us"));
}

}  // namespace
}  // namespace tessera::calibrate
