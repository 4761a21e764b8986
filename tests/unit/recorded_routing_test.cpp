#include "models/workload/recorded_routing.hpp"

#include <catch2/catch_test_macros.hpp>

#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

/// What is wrong with a table for 4 experts, 2 a token.
std::string mistakes_of(const std::string& text) {
  try {
    (void)read_recorded_routing(text, "r.csv", 4, 2);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("recorded loads and choices are read, layer by layer", "[recorded]") {
  const RecordedRouting loads =
      read_recorded_routing("expert,count\n2,5\n0, 7\n3,0\r\n1,1\n", "r.csv", 4, 2);
  CHECK(loads.layer(0).rows == std::vector<std::int64_t>{7, 1, 5, 0});
  CHECK(loads.layer(0).choices.empty());
  const RecordedRouting ids =
      read_recorded_routing("token,layer,e0,e1\na,3,0,1\nb,3,3,1\na,4,2,0\n", "r.csv", 4, 2);
  REQUIRE(ids.layers.size() == 2);
  CHECK(ids.layer(0).rows == std::vector<std::int64_t>{1, 2, 0, 1});
  CHECK(ids.layer(0).choices == std::vector<int>{0, 1, 3, 1});
  CHECK(ids.layer(1).layer == 4);
  CHECK(ids.layer(2).layer == 3);  // layers beyond the recording repeat it
}

TEST_CASE("mistakes in recordings are reported where they are", "[recorded]") {
  CHECK(mistakes_of("") ==
        "r.csv: error: found nothing; expected 'expert,count' or ids of experts");
  CHECK(mistakes_of("id,rows\n0,1\n") ==
        "r.csv:1:1: error: found the columns 'id,rows'; expected 'expert,count', or 'e0' to 'e1' "
        "with the experts of one token a line");
  CHECK(mistakes_of("e0,e1,e2\n0,1,2\n") ==
        "r.csv:1:1: error: found 3 experts a token; expected 2, as many as the architecture "
        "chooses");
  CHECK(mistakes_of("expert,count\n0,1\n1,x\n4,2\n2,3\n2,4\n3,1,1\n") ==
        "r.csv:3:3: error: count: found 'x'; expected an integer in [0, 1000000000000]\n"
        "r.csv:4:1: error: expert: found '4'; expected an integer in [0, 3]\n"
        "r.csv:6:1: error: expert: found 2 again, after line 5; expected every expert once\n"
        "r.csv:7:1: error: found 3 columns; expected 2");
  CHECK(mistakes_of("expert,count\n0,1\n1,1\n3,1\n") ==
        "r.csv:4:1: error: found no expert 2; expected 4 experts, as the architecture has");
  CHECK(mistakes_of("expert,count\n0,0\n1,0\n2,0\n3,0\n") ==
        "r.csv:2:1: error: found no load on any expert; expected some");
  CHECK(mistakes_of("t,e0,e1\n0,1,2\n1,1,1\n2,-1,0\n3,0, 9\n") ==
        "r.csv:3:5: error: e1: found expert 1 again; expected 2 different ones\n"
        "r.csv:4:3: error: e0: found '-1'; expected an integer in [0, 3]\n"
        "r.csv:5:6: error: e1: found '9'; expected an integer in [0, 3]");
  CHECK(mistakes_of("e0,e1\n") == "r.csv:1:1: error: found no line after the head; expected loads");
}

}  // namespace tessera::workload
