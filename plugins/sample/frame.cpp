#include "frame.h"

#include "error.h"
#include "files.h"

#include <algorithm>
#include <string>

#if defined(LZU_WITH_OPENCV)
#include <opencv2/imgcodecs.hpp>
#elif defined(LZU_WITH_STB)
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#include <stb_image.h>
#endif

namespace lzu::sample
{

namespace
{

constexpr int32_t kMOST_SIDE = 65535;

std::size_t bytesOf(int32_t width, int32_t height)
{
    return std::size_t{3} * static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
}

void swapRedAndBlue(std::vector<uint8_t>& pixels)
{
    for (std::size_t i = 0; i + 2 < pixels.size(); i += 3)
    {
        std::swap(pixels[i], pixels[i + 2]);
    }
}

// The next number of a PPM's header, after blanks and comments; moves `place` behind it. -1 where there is none.
int32_t number(std::string const& header, std::size_t& place)
{
    place = header.find_first_not_of(" \t\r\n", place);
    while (place < header.size() && header[place] == '#')
    {
        place = header.find_first_not_of(" \t\r\n", header.find('\n', place));
    }
    int32_t value = -1;
    for (; place < header.size() && header[place] >= '0' && header[place] <= '9' && value <= kMOST_SIDE; ++place)
    {
        value = std::max(value, 0) * 10 + (header[place] - '0');
    }
    return value;
}

Frame fromPpm(std::string const& path, std::vector<char> const& content)
{
    constexpr std::size_t kMOST_HEADER = 4096;
    std::string const header(content.data(), std::min(content.size(), kMOST_HEADER));
    std::size_t place = 2;
    int32_t const width = number(header, place);
    int32_t const height = number(header, place);
    int32_t const most = number(header, place);
    ++place; // one blank precedes the pixels
    bool const sound = width > 0 && height > 0 && width <= kMOST_SIDE && height <= kMOST_SIDE && most == 255;
    std::size_t const count = sound ? bytesOf(width, height) : 0;
    if (!sound || place > content.size() || content.size() - place < count)
    {
        throw Error(path + " is not a whole PPM of 8 bits a channel; convert the image again");
    }
    auto const first = content.begin() + static_cast<std::ptrdiff_t>(place);
    Frame frame{path, {height, width}, {first, first + static_cast<std::ptrdiff_t>(count)}};
    swapRedAndBlue(frame.pixels);
    return frame;
}

#if defined(LZU_WITH_OPENCV)

Frame decode(std::string const& path, std::vector<char> const& content)
{
    cv::Mat const bytes(1, static_cast<int>(content.size()), CV_8UC1, const_cast<char*>(content.data()));
    cv::Mat const image = cv::imdecode(bytes, cv::IMREAD_COLOR);
    if (image.empty())
    {
        throw Error("OpenCV cannot decode " + path + "; give a JPEG or PNG");
    }
    return {path, {image.rows, image.cols}, {image.datastart, image.dataend}};
}

#elif defined(LZU_WITH_STB)

Frame decode(std::string const& path, std::vector<char> const& content)
{
    auto const* const bytes = reinterpret_cast<stbi_uc const*>(content.data());
    auto const length = static_cast<int>(content.size());
    if (stbi_is_16_bit_from_memory(bytes, length) != 0)
    {
        throw Error(path + " has more than 8 bits a channel; convert it to 8 bits");
    }
    int32_t width = 0;
    int32_t height = 0;
    int32_t channels = 0;
    stbi_uc* const pixels = stbi_load_from_memory(bytes, length, &width, &height, &channels, 3);
    if (pixels == nullptr)
    {
        throw Error("stb_image cannot decode " + path + " (" + stbi_failure_reason() + "); give a JPEG or PNG");
    }
    std::size_t const count = bytesOf(width, height);
    Frame frame{path, {height, width}, {pixels, pixels + count}};
    stbi_image_free(pixels);
    swapRedAndBlue(frame.pixels);
    return frame;
}

#else

Frame decode(std::string const& path, std::vector<char> const&)
{
    throw Error(path + " is not a PPM, and this sample was built without OpenCV and stb_image; convert it to PPM");
}

#endif

} // namespace

Frame readFrame(std::string const& path)
{
    std::vector<char> const content = readFile(path);
    bool const isPpm = content.size() > 2 && content[0] == 'P' && content[1] == '6';
    return isPpm ? fromPpm(path, content) : decode(path, content);
}

} // namespace lzu::sample
