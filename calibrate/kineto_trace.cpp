#include "calibrate/kineto_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <istream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestInputs = 1 << 16;

/// The text's bytes one by one, with the place of the last one.
class CountedBytes {
 public:
  explicit CountedBytes(std::istream& text) : bytes_(text.rdbuf()), current_(bytes_->sgetc()) {}

  [[nodiscard]] bool at_end() const { return current_ == std::istream::traits_type::eof(); }
  [[nodiscard]] char current() const { return static_cast<char>(current_); }
  void advance() {
    ++offset_;
    if (current_ == '\n') {
      ++line_;
      line_begin_ = offset_;
    }
    current_ = bytes_->snextc();
  }

  [[nodiscard]] std::int64_t offset() const { return offset_; }
  [[nodiscard]] int line() const { return line_; }
  /// Of the byte that was read last, from 1.
  [[nodiscard]] int column() const {
    return static_cast<int>(std::max<std::int64_t>(1, offset_ - line_begin_));
  }

 private:
  std::streambuf* bytes_;
  int current_;
  std::int64_t offset_ = 0;
  std::int64_t line_begin_ = 0;
  int line_ = 1;
};

/// CountedBytes as the parser wants them; without a source it is the end.
struct ByteIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  CountedBytes* source = nullptr;

  char operator*() const { return source->current(); }
  ByteIterator& operator++() {
    source->advance();
    return *this;
  }
  ByteIterator operator++(int) {
    const ByteIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const ByteIterator& a, const ByteIterator&) {
    return a.source == nullptr || a.source->at_end();
  }
};

/// What the value that comes next is to the reader.
enum class Slot {
  none,
  phase,
  category,
  name,
  begin,
  duration,
  arguments,
  device,
  external,
  correlation,
  dims,
  types,
  concretes,
  collective,
  element_type,
  in_elements,
  out_elements,
  ranks,
  splits,
  identifier,
  nccl_version,
};

using SlotMap = std::map<std::string, Slot, std::less<>>;
const SlotMap kEventSlots = {{"ph", Slot::phase},     {"cat", Slot::category},
                             {"name", Slot::name},    {"ts", Slot::begin},
                             {"dur", Slot::duration}, {"args", Slot::arguments}};
// Spellings of PyTorch 1.8 and of today.
const SlotMap kArgumentSlots = {{"External id", Slot::external},
                                {"external id", Slot::external},
                                {"correlation", Slot::correlation},
                                {"device", Slot::device},
                                {"Input Dims", Slot::dims},
                                {"Input dims", Slot::dims},
                                {"Input type", Slot::types},
                                {"Concrete Inputs", Slot::concretes},
                                {"Collective name", Slot::collective},
                                {"dtype", Slot::element_type},
                                {"In msg nelems", Slot::in_elements},
                                {"Out msg nelems", Slot::out_elements},
                                {"Group size", Slot::ranks},
                                {"In split size", Slot::splits},
                                {"Out split size", Slot::splits}};
const SlotMap kDeviceSlots = {{"id", Slot::identifier}, {"name", Slot::name}};
const SlotMap kDistributedSlots = {{"nccl_version", Slot::nccl_version}};

enum class Section { none, events, devices, distributed };

/// Takes the parser's steps and gives events. Depths count open objects and lists.
class Handler : public nlohmann::json_sax<Json> {
 public:
  explicit Handler(const TraceConsumer& consumer) : consumer_(consumer) {}

  [[nodiscard]] bool found_events() const { return found_events_; }
  [[nodiscard]] const std::string& mistake() const { return mistake_; }
  [[nodiscard]] const TraceHeader& header() const { return header_; }

  bool null() override { return other("null"); }
  bool boolean(bool value) override { return other(value ? "true" : "false"); }
  bool binary(binary_t&) override { return other("null"); }
  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value), value);
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value), static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t&) override {
    constexpr double kLargest = 9e18;  // below the end of int64
    return number(value, std::abs(value) < kLargest ? static_cast<std::int64_t>(value) : -1);
  }

  bool string(string_t& value) override {
    if (capture_ != nullptr) return captured(Json(value).dump(-1, ' ', false, kReplace));
    take_text(value);
    slot_ = Slot::none;
    return true;
  }

  bool key(string_t& value) override {
    if (capture_ != nullptr) return true;
    slot_ = Slot::none;
    if (depth_ == 1 && !bare_list_) {
      next_section_ = value == "traceEvents"        ? Section::events
                      : value == "deviceProperties" ? Section::devices
                      : value == "distributedInfo"  ? Section::distributed
                                                    : Section::none;
    } else if (section_ != Section::none && depth_ == item_depth_) {
      slot_ = find(section_ == Section::events    ? kEventSlots
                   : section_ == Section::devices ? kDeviceSlots
                                                  : kDistributedSlots,
                   value);
    } else if (in_arguments_ && depth_ == item_depth_ + 1) {
      slot_ = find(kArgumentSlots, value);
    }
    return true;
  }

  bool start_object(std::size_t) override {
    ++depth_;
    if (capture_ != nullptr) return captured("{}");
    if (section_ == Section::none && depth_ == 2 && next_section_ == Section::distributed) {
      section_ = Section::distributed;
      item_depth_ = depth_;
    } else if (section_ != Section::none && depth_ == item_depth_) {
      event_ = {};
      phase_.clear();
      identifier_ = -1;
    } else if (section_ == Section::events && depth_ == item_depth_ + 1 &&
               slot_ == Slot::arguments) {
      in_arguments_ = true;
    }
    slot_ = Slot::none;
    return true;
  }

  bool end_object() override {
    if (capture_ == nullptr) {
      if (depth_ == item_depth_ + 1) in_arguments_ = false;
      if (section_ != Section::none && depth_ == item_depth_) finish_item();
    }
    --depth_;
    return true;
  }

  bool start_array(std::size_t) override {
    ++depth_;
    if (capture_ == nullptr) {
      std::string* target = capture_target();
      if (target != nullptr) {
        capture_ = target;
        capture_depth_ = depth_;
        capture_->clear();
      } else if (slot_ == Slot::splits) {
        splits_depth_ = depth_;
      }
    }
    slot_ = Slot::none;
    if (capture_ != nullptr) return captured("[");
    if (depth_ == 1) bare_list_ = true;
    if (section_ == Section::none &&
        (depth_ == 1 || (depth_ == 2 && next_section_ != Section::none)))
      begin_list();
    return true;
  }

  bool end_array() override {
    if (capture_ != nullptr) {
      if (capture_->size() <= kLargestInputs) *capture_ += ']';
      if (depth_ == capture_depth_) end_capture();
    } else if (depth_ == item_depth_ - 1) {
      section_ = next_section_ = Section::none;
      item_depth_ = 0;
    }
    if (depth_ == splits_depth_) splits_depth_ = 0;
    --depth_;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    mistake_ = error.what();
    return false;
  }

 private:
  static constexpr auto kReplace = Json::error_handler_t::replace;

  static Slot find(const SlotMap& slots, const std::string& key) {
    const auto found = slots.find(key);
    return found == slots.end() ? Slot::none : found->second;
  }

  void begin_list() {
    section_ = bare_list_ ? Section::events : next_section_;
    item_depth_ = depth_ + 1;
    found_events_ = found_events_ || section_ == Section::events;
  }

  std::string* capture_target() {
    if (!in_arguments_) return nullptr;
    if (slot_ == Slot::dims) return &event_.dims;
    if (slot_ == Slot::types) return &event_.types;
    if (slot_ == Slot::concretes) return &event_.concretes;
    return nullptr;
  }

  /// Adds one element of a captured list, after a comma where one belongs.
  bool captured(const std::string& json) {
    if (capture_->size() > kLargestInputs) return true;
    if (!capture_->empty() && capture_->back() != '[') *capture_ += ',';
    *capture_ += json;
    return true;
  }

  void end_capture() {
    if (capture_->size() > kLargestInputs) capture_->clear();
    capture_ = nullptr;
  }

  bool other(const char* json) {
    if (capture_ != nullptr) return captured(json);
    slot_ = Slot::none;
    return true;
  }

  bool number(double value, std::int64_t whole) {
    if (capture_ != nullptr) return captured(std::to_string(whole));
    if (splits_depth_ != 0 && depth_ == splits_depth_) event_.uneven = true;
    switch (slot_) {
      case Slot::begin:
        event_.begin_us = value;
        break;
      case Slot::duration:
        event_.duration_us = value;
        break;
      case Slot::device:
        event_.device = whole;
        break;
      case Slot::external:
        event_.external = whole;
        break;
      case Slot::correlation:
        event_.correlation = whole;
        break;
      case Slot::in_elements:
        event_.in_elements = whole;
        break;
      case Slot::out_elements:
        event_.out_elements = whole;
        break;
      case Slot::ranks:
        event_.ranks = whole;
        break;
      case Slot::identifier:
        identifier_ = whole;
        break;
      default:
        break;
    }
    slot_ = Slot::none;
    return true;
  }

  void take_text(std::string& value) {
    switch (slot_) {
      case Slot::phase:
        phase_ = std::move(value);
        break;
      case Slot::category:
        event_.category = std::move(value);
        break;
      case Slot::name:
        event_.name = std::move(value);
        break;
      case Slot::collective:
        event_.collective = std::move(value);
        break;
      case Slot::element_type:
        event_.element_type = std::move(value);
        break;
      case Slot::splits:
        event_.uneven = event_.uneven || (!value.empty() && value != "[]");
        break;
      case Slot::nccl_version:
        header_.nccl_version = std::move(value);
        break;
      default:
        break;
    }
  }

  void finish_item() {
    if (section_ == Section::events && phase_ == "X") consumer_.event(event_);
    if (section_ == Section::devices && identifier_ >= 0)
      consumer_.device(identifier_, event_.name);
    if (section_ != Section::distributed) return;
    section_ = next_section_ = Section::none;
    item_depth_ = 0;
  }

  const TraceConsumer& consumer_;
  TraceHeader header_;
  TraceEvent event_;
  std::string phase_, mistake_;
  std::int64_t identifier_ = -1;
  int depth_ = 0;
  int item_depth_ = 0;  ///< Of events or devices; 0 outside of their lists.
  int capture_depth_ = 0, splits_depth_ = 0;
  std::string* capture_ = nullptr;  ///< Where a list of inputs is being copied to.
  Section section_ = Section::none, next_section_ = Section::none;
  Slot slot_ = Slot::none;
  bool bare_list_ = false, in_arguments_ = false, found_events_ = false;
};

/// The parser's sentence without its code and place: "syntax error while parsing value - ...".
std::string sentence(const std::string& what) {
  const std::size_t at = what.find(": ");
  return at == std::string::npos ? what : what.substr(at + 2);
}

}  // namespace

TraceHeader read_kineto_trace(std::istream& text, const std::string& file,
                              const TraceConsumer& consumer) {
  CountedBytes bytes{text};
  Handler handler{consumer};
  if (!Json::sax_parse(ByteIterator{&bytes}, ByteIterator{}, &handler))
    throw core::ConfigError(
        {file, bytes.line(), bytes.column()},
        fmt::format("byte {}: {}", bytes.offset(), sentence(handler.mistake())));
  if (!handler.found_events())
    throw core::ConfigError({file, 0, 0},
                            "found no list of events; expected a trace of PyTorch's profiler "
                            "(\"traceEvents\": [...])");
  return handler.header();
}

}  // namespace tessera::calibrate
