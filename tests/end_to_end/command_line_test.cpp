#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

TEST_CASE("a mistyped command line ends with 2 and says what was meant", "[command_line]") {
  const std::pair<std::string, std::string> mistakes[] = {
      {"rn", "tessera: error: command: found 'rn'; expected one of run, compare, sweep, "},
      {"--hlp", "tessera: error: there is no option --hlp (did you mean --help?)\n"},
      {"run deepseek_v3_pretrain_h800 --fidelty cycle",
       "tessera: error: run: there is no option --fidelty (did you mean --fidelity?)\nSee tessera "
       "run --help.\n"},
      {"run", "tessera: error: run: scenario is required\nSee tessera run --help.\n"},
      {"calibrate collectives --measurments x",
       "tessera: error: calibrate collectives: there is no option --measurments (did you mean "
       "--measurements?)\nSee tessera calibrate collectives --help.\n"}};
  for (const auto& [arguments, message] : mistakes) {
    const Outcome outcome = run_tessera(arguments);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.output.empty());
    CHECK_THAT(outcome.errors, StartsWith(message));
  }
}

TEST_CASE("a name cut short is completed in the message", "[command_line]") {
  CHECK_THAT(run_tessera("show device h20").errors, ContainsSubstring("did you mean 'h20_sxm'?"));
  CHECK_THAT(run_tessera("run deepseek_v3_pretrain_h80").errors,
             ContainsSubstring("did you mean 'deepseek_v3_pretrain_h800'?"));
}

TEST_CASE("the program without a command shows its help", "[command_line]") {
  const Outcome bare = run_tessera("");
  CHECK(bare.exit_code == 2);
  CHECK_THAT(bare.errors, ContainsSubstring("First steps:"));
  const Outcome asked = run_tessera("--help");
  CHECK(asked.exit_code == 0);
  CHECK(asked.output == bare.errors);
}

}  // namespace
}  // namespace tessera::end_to_end
