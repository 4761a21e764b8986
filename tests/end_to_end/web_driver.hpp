#pragma once

#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera::testing {

/// A headless Chromium driven through chromedriver by the WebDriver protocol (W3C), in a profile of
/// its own that goes with it. Throws std::runtime_error when a command fails.
class Browser {
 public:
  Browser();
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  /// Whether Chromium and chromedriver are on this machine.
  [[nodiscard]] static bool is_there();

  void open(const std::filesystem::path& page);
  /// The value that a script's `return` gives.
  nlohmann::json evaluate(const std::string& script);
  /// Repeats a script until it returns true; false when it has not after half a minute.
  bool wait_for(const std::string& script);
  /// Shows pages as on a screen of this size, in CSS pixels.
  void resize(int width, int height);
  /// Whether pages hear that the user prefers dark.
  void prefer_dark(bool dark);
  /// Where files that pages offer go when their link is clicked.
  void download_into(const std::filesystem::path& folder);
  void screenshot(const std::filesystem::path& png);

  /// Console messages of the level SEVERE or WARNING since `open`, or the last call,
  /// Content-Security-Policy violations among them.
  std::vector<std::string> console_problems();
  /// Addresses that pages asked for since `open`, or the last call, other than file: and data:.
  std::vector<std::string> network_requests();

 private:
  nlohmann::json command(const std::string& method, const std::string& path,
                         const nlohmann::json& body);
  /// A command of the Chrome DevTools Protocol.
  void devtools(const std::string& name, const nlohmann::json& parameters);
  nlohmann::json log(const std::string& type);

  std::filesystem::path profile_;
  pid_t driver_ = -1;
  int port_ = 0;
  std::string session_;
};

}  // namespace tessera::testing
