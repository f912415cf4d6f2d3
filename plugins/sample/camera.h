// Camera matrices of the task det3d.
#pragma once

#include "warp.h"

#include <array>
#include <map>
#include <string>

namespace lzu::sample
{

using Matrix = std::array<std::array<double, 4>, 4>;

// The engine's inputs cam2img and img2cam of one image, for pixels of the network input.
struct CameraInputs
{
    std::array<float, 16> cam2img{};
    std::array<float, 16> img2cam{};
};

// A calibration file: {"cam2img": K} for all frames, or {"cameras": {NAME: {"file": PATH, "cam2img": K}, ...}}, as
// `lzu-export run --cameras` takes it. K is 3 x 3, 3 x 4 or 4 x 4.
class Cameras
{
public:
    // Reads the file; throws Error if it holds no calibration.
    explicit Cameras(std::string const& path);

    // The matrix of the camera that took a frame: the one whose file is the longest end of the frame's path.
    Matrix const& of(std::string const& frame) const;

private:
    std::string mPath;
    std::map<std::string, Matrix> mByFile; // by "/" and the file; all frames have the camera "" if it is there
};

// Converts a matrix for pixels of the source; throws Error if it has no inverse.
CameraInputs cameraInputs(Matrix const& cam2img, Warp const& warp);

} // namespace lzu::sample
