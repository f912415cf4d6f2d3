// Frames from image files.
#pragma once

#include "warp.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lzu::sample
{

// A camera's frame: height x width x 3 bytes, blue, green, red.
struct Frame
{
    std::string path;
    Size size;
    std::vector<uint8_t> pixels;
};

// Reads an image file: binary PPM always; JPEG, PNG and others by OpenCV or stb_image, whichever the sample was built
// with. Throws Error if the file is not such an image.
Frame readFrame(std::string const& path);

} // namespace lzu::sample
