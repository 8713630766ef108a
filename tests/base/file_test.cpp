#include "base/file.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/page_buffer.h"

using namespace leafcutter;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("leafcutter-file-test-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::size_t files() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator{})); }
};

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("a file that was committed is there whole, and alone") {
  const Folder folder;
  const std::string path = (folder.path / "out.leaf").string();
  {
    const auto file = create_file(path);
    file->write_at(4, bytes_of("world"));
    file->write_at(0, bytes_of("new "));
    CHECK_FALSE(fs::exists(path));
    file->commit();
  }
  CHECK(content(path) == "new world");
  CHECK(folder.files() == 1);
}

TEST_CASE("a file that was not committed leaves the old one and nothing else") {
  const Folder folder;
  const std::string path = (folder.path / "out.leaf").string();
  std::ofstream(path) << "old";
  { create_file(path)->write_at(0, bytes_of("half")); }
  CHECK(content(path) == "old");
  CHECK(folder.files() == 1);
}

TEST_CASE("what a killed run left is removed by the next one, a living run's is not") {
  const Folder folder;
  const std::string path = (folder.path / "out.leaf").string();
  std::ofstream(folder.path / ".out.leaf.123-0.leafcutter-tmp") << "left over";
  std::ofstream(folder.path / ".other.leaf.123-0.leafcutter-tmp") << "of another target";
  const auto living = create_file(path);
  const auto second = create_file(path);
  CHECK_FALSE(fs::exists(folder.path / ".out.leaf.123-0.leafcutter-tmp"));
  CHECK(folder.files() == 3);
}

TEST_CASE("reading past the end names file, place and how much came") {
  const Folder folder;
  const std::string path = (folder.path / "short").string();
  std::ofstream(path) << "12345";
  const auto file = open_file(path);
  REQUIRE(file->size() == 5);
  std::vector<std::byte> to(8);
  try {
    read_exactly(*file, 2, to, "header");
    FAIL("accepted");
  } catch (const Error& e) {
    const std::string text = e.what();
    CHECK(text.find(path + ", header, offset 2") == 0);
    CHECK(text.find("3 of 8 bytes") != std::string::npos);
  }
}

TEST_CASE("a direct read past the end within a page says that the file ends, not that the system refuses to go on") {
  const Folder folder;
  const std::string path = (folder.path / "short").string();
  std::ofstream(path) << std::string(5000, 'x');
  const auto file = open_file(path, FileAccess::direct);
  const PageBuffer to(12288, "test");
  CHECK_THROWS_WITH_AS(read_exactly(*file, 0, to.bytes(), "chunk"), doctest::Contains("the file ends after 5000 of 12288 bytes"), Error);
}

TEST_CASE("what is not there or no file is refused by name") {
  const Folder folder;
  CHECK_THROWS_WITH_AS(open_file((folder.path / "none").string()), doctest::Contains("none"), Error);
  CHECK_THROWS_AS(open_file(folder.path.string()), Error);
  CHECK_THROWS_AS(create_file(folder.path.string()), Error);
  CHECK_THROWS_AS(create_file((folder.path / "no" / "such" / "folder").string()), Error);
}
