// Whole files.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lzu::sample
{

// The bytes of a file; throws Error if it cannot be read.
std::vector<char> readFile(std::string const& path);

// Writes a file; throws Error if it cannot be written.
void writeFile(std::string const& path, void const* data, std::size_t size);

} // namespace lzu::sample
