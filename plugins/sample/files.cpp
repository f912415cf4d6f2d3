#include "files.h"

#include "error.h"

#include <fstream>
#include <iterator>

namespace lzu::sample
{

std::vector<char> readFile(std::string const& path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<char> content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file.is_open() || file.bad())
    {
        throw Error("cannot read " + path + "; check the path");
    }
    return content;
}

void writeFile(std::string const& path, void const* data, std::size_t size)
{
    std::ofstream file(path, std::ios::binary);
    file.write(static_cast<char const*>(data), static_cast<std::streamsize>(size));
    file.close();
    if (!file)
    {
        throw Error("cannot write " + path + "; check that its folder exists and has room");
    }
}

} // namespace lzu::sample
