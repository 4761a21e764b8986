#include "tests/end_to_end/web_driver.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace tessera::testing {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char* kChromium = "/usr/bin/chromium";
constexpr const char* kDriver = "/usr/bin/chromedriver";

/// A TCP port of the loopback interface that is free now.
int free_port() {
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = bind(socket_fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(socket_fd);
  if (!bound) throw std::runtime_error("no free port on the loopback interface");
  return ntohs(address.sin_port);
}

int connect_to(int port) {
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (connect(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    close(socket_fd);
    throw std::runtime_error("chromedriver does not answer");
  }
  return socket_fd;
}

/// The Content-Length of an HTTP head, whose names are in any case.
std::size_t content_length(std::string head) {
  std::transform(head.begin(), head.end(), head.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  static constexpr std::string_view kName = "content-length:";
  const std::size_t at = head.find(kName);
  if (at == std::string::npos) throw std::runtime_error("chromedriver gave no Content-Length");
  return std::stoul(head.substr(at + kName.size()));
}

/// One HTTP exchange; the answer's body.
std::string exchange(int port, const std::string& method, const std::string& path,
                     const std::string& body) {
  const std::string request = method + " " + path +
                              " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                              "\r\nConnection: close\r\nContent-Type: application/json\r\n"
                              "Content-Length: " +
                              std::to_string(body.size()) + "\r\n\r\n" + body;
  const int socket_fd = connect_to(port);
  const timeval patience{.tv_sec = 120, .tv_usec = 0};
  setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  for (std::size_t sent = 0; sent < request.size();) {
    const ssize_t count = send(socket_fd, request.data() + sent, request.size() - sent, 0);
    if (count <= 0) break;
    sent += static_cast<std::size_t>(count);
  }
  std::string answer;
  std::size_t wanted = std::string::npos;
  char buffer[16384];
  while (answer.size() < wanted) {
    const ssize_t count = recv(socket_fd, buffer, sizeof buffer, 0);
    if (count <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(count));
    const std::size_t head_end = answer.find("\r\n\r\n");
    if (head_end != std::string::npos && wanted == std::string::npos)
      wanted = head_end + 4 + content_length(answer.substr(0, head_end));
  }
  close(socket_fd);
  const std::size_t head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos) throw std::runtime_error("chromedriver broke off");
  return answer.substr(head_end + 4);
}

pid_t start_driver(int port) {
  const pid_t child = fork();
  if (child != 0) return child;
  const int null = open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) dup2(null, fd);
  const std::string option = "--port=" + std::to_string(port);
  execl(kDriver, kDriver, option.c_str(), static_cast<char*>(nullptr));
  _exit(127);
}

json capabilities(const fs::path& profile) {
  const json arguments = {"--headless",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--disable-quic",
                          "--disable-dev-shm-usage",
                          "--no-first-run",
                          "--disable-background-networking",
                          "--disable-component-update",
                          "--disable-sync",
                          "--window-size=1280,1000",
                          "--user-data-dir=" + profile.string()};
  const json always = {{"browserName", "chrome"},
                       {"goog:chromeOptions", {{"binary", kChromium}, {"args", arguments}}},
                       {"goog:loggingPrefs", {{"browser", "ALL"}, {"performance", "ALL"}}}};
  return {{"capabilities", {{"alwaysMatch", always}}}};
}

}  // namespace

bool Browser::is_there() { return fs::exists(kChromium) && fs::exists(kDriver); }

Browser::Browser() {
  std::string name = fs::temp_directory_path() / "tessera_browser_XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
  profile_ = name;
  port_ = free_port();
  driver_ = start_driver(port_);
  for (int attempt = 0; session_.empty(); ++attempt) {
    try {
      session_ = command("POST", "/session", capabilities(profile_)).at("sessionId");
    } catch (const std::runtime_error&) {
      if (attempt == 300) throw;
      std::this_thread::sleep_for(100ms);
    }
  }
}

Browser::~Browser() {
  try {
    exchange(port_, "DELETE", "/session/" + session_, "");
  } catch (const std::exception&) {  // the driver is ended below in any case
  }
  kill(driver_, SIGTERM);
  waitpid(driver_, nullptr, 0);
  std::error_code ignored;
  fs::remove_all(profile_, ignored);
}

json Browser::command(const std::string& method, const std::string& path, const json& body) {
  const std::string text = exchange(port_, method, path, body.is_null() ? "" : body.dump());
  json answer = json::parse(text).at("value");
  if (answer.is_object() && answer.contains("error"))
    throw std::runtime_error(answer.at("error").get<std::string>() + ": " +
                             answer.at("message").get<std::string>());
  return answer;
}

void Browser::open(const fs::path& page) {
  // What the browser's own start page logs and asks for is none of the page's doing.
  command("POST", "/session/" + session_ + "/url", {{"url", "about:blank"}});
  log("browser");
  log("performance");
  command("POST", "/session/" + session_ + "/url",
          {{"url", "file://" + fs::absolute(page).string()}});
}

json Browser::evaluate(const std::string& script) {
  return command("POST", "/session/" + session_ + "/execute/sync",
                 {{"script", script}, {"args", json::array()}});
}

bool Browser::wait_for(const std::string& script) {
  for (int attempt = 0; attempt < 300; ++attempt) {
    if (evaluate(script) == json(true)) return true;
    std::this_thread::sleep_for(100ms);
  }
  return false;
}

void Browser::devtools(const std::string& name, const json& parameters) {
  command("POST", "/session/" + session_ + "/goog/cdp/execute",
          {{"cmd", name}, {"params", parameters}});
}

void Browser::resize(int width, int height) {
  devtools("Emulation.setDeviceMetricsOverride",
           {{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", false}});
}

void Browser::prefer_dark(bool dark) {
  const json scheme = {{"name", "prefers-color-scheme"}, {"value", dark ? "dark" : "light"}};
  devtools("Emulation.setEmulatedMedia", {{"features", json::array({scheme})}});
}

void Browser::download_into(const fs::path& folder) {
  devtools("Browser.setDownloadBehavior",
           {{"behavior", "allow"}, {"downloadPath", fs::absolute(folder).string()}});
}

void Browser::screenshot(const fs::path& png) {
  const std::string base64 = command("GET", "/session/" + session_ + "/screenshot", nullptr);
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::ofstream file{png, std::ios::binary};
  unsigned bits = 0;
  int count = 0;
  for (const char c : base64) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<unsigned>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    file.put(static_cast<char>(bits >> count & 0xFF));
  }
}

json Browser::log(const std::string& type) {
  return command("POST", "/session/" + session_ + "/se/log", {{"type", type}});
}

std::vector<std::string> Browser::console_problems() {
  std::vector<std::string> problems;
  for (const json& entry : log("browser"))
    if (entry.at("level") == "SEVERE" || entry.at("level") == "WARNING")
      problems.push_back(entry.at("message"));
  return problems;
}

std::vector<std::string> Browser::network_requests() {
  std::vector<std::string> addresses;
  for (const json& entry : log("performance")) {
    const json message = json::parse(entry.at("message").get<std::string>()).at("message");
    if (message.at("method") != "Network.requestWillBeSent") continue;
    const std::string address = message.at("params").at("request").at("url");
    if (address.rfind("file:", 0) != 0 && address.rfind("data:", 0) != 0)
      addresses.push_back(address);
  }
  return addresses;
}

}  // namespace tessera::testing
