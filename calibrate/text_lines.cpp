#include "calibrate/text_lines.hpp"

namespace tessera::calibrate {

bool read_line(std::istream& text, std::string& line, std::size_t limit) {
  line.clear();
  std::streambuf* const bytes = text.rdbuf();
  constexpr int kEnd = std::istream::traits_type::eof();
  int c = bytes->sbumpc();
  if (c == kEnd) return false;
  for (; c != kEnd && c != '\n' && line.size() < limit; c = bytes->sbumpc())
    line += static_cast<char>(c);
  return true;
}

}  // namespace tessera::calibrate
