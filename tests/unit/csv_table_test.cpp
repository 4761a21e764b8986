#include "calibrate/csv_table.hpp"

#include <catch2/catch_test_macros.hpp>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {

TEST_CASE("quoted fields, doubled quotes and line ends are read and written back", "[csv]") {
  const std::string text = "name,note\na,\"x, \"\"y\"\"\"\nb,\n";
  CsvTable table = CsvTable::parse(text, "t.csv");
  REQUIRE(table.size() == 2);
  CHECK(table.text(0, "note") == "x, \"y\"");
  CHECK(table.text(1, "note").empty());
  CHECK(table.to_text() == text);
  table.append("more", {"1", "2"});
  CHECK(table.to_text() == "name,note,more\na,\"x, \"\"y\"\"\",1\nb,,2\n");
}

TEST_CASE("a row with another number of fields is an error at its line", "[csv]") {
  try {
    (void)CsvTable::parse("a,b\n1,2\n3\n", "t.csv");
    FAIL("the short row was accepted");
  } catch (const core::ConfigError& error) {
    CHECK(std::string{error.what()} ==
          "t.csv:3:1: error: found 1 fields; expected 2 as in the header");
  }
}

TEST_CASE("numbers that are not whole fields are none", "[csv]") {
  const CsvTable table = CsvTable::parse("a\n1.5\n1.5x\n\"\"\n", "t.csv");
  CHECK(table.number(0, "a") == 1.5);
  CHECK_FALSE(table.number(1, "a"));
  CHECK_FALSE(table.number(0, "b"));
}

TEST_CASE("a shape is on the half that the measurements' own scorer puts it", "[csv]") {
  const CsvTable table = CsvTable::parse(
      "gpu,op,M,N,K\nx,gemm,1,32,64\ny,gemm,8192,8192,8192\nx,gemm,128,4096,7168\nx,gemm,64,2112,"
      "7168\n",
      "t.csv");
  CHECK(half(table, 0) == Half::fit);
  CHECK(half(table, 1) == Half::fit);
  CHECK(half(table, 2) == Half::test);
  CHECK(half(table, 3) == Half::fit);
}

}  // namespace tessera::calibrate
