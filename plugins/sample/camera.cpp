#include "camera.h"

#include "error.h"
#include "files.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

namespace lzu::sample
{

namespace
{

using Json = nlohmann::json;

Matrix identity()
{
    Matrix matrix{};
    for (std::size_t i = 0; i < 4; ++i)
    {
        matrix[i][i] = 1;
    }
    return matrix;
}

Matrix matrixOf(Json const& entry)
{
    auto const rows = entry.at("cam2img").get<std::vector<std::vector<double>>>();
    Matrix matrix = identity();
    std::size_t const columns = rows.empty() ? 0 : rows.front().size();
    bool sound = (rows.size() == 3 && (columns == 3 || columns == 4)) || (rows.size() == 4 && columns == 4);
    for (std::size_t i = 0; sound && i < rows.size(); ++i)
    {
        sound = rows[i].size() == columns
            && std::all_of(rows[i].begin(), rows[i].end(), [](double each) { return std::isfinite(each); });
        std::copy_n(rows[i].begin(), sound ? columns : 0, matrix[i].begin());
    }
    if (!sound || matrix[0][0] <= 0 || matrix[1][1] <= 0 || matrix[2][2] <= 0)
    {
        throw Error("cam2img is not 3 x 3, 3 x 4 or 4 x 4 with a positive diagonal; give the calibrated matrix");
    }
    return matrix;
}

// The inverse by elimination with row pivots, in float64.
Matrix inverse(Matrix matrix)
{
    Matrix result = identity();
    for (std::size_t column = 0; column < 4; ++column)
    {
        std::size_t pivot = column;
        for (std::size_t row = column + 1; row < 4; ++row)
        {
            pivot = std::abs(matrix[row][column]) > std::abs(matrix[pivot][column]) ? row : pivot;
        }
        if (matrix[pivot][column] == 0)
        {
            throw Error("cam2img has no inverse, so no pixel has a ray; give the calibrated matrix");
        }
        std::swap(matrix[column], matrix[pivot]);
        std::swap(result[column], result[pivot]);
        for (std::size_t row = column + 1; row < 4; ++row)
        {
            double const share = matrix[row][column] / matrix[column][column];
            for (std::size_t i = 0; i < 4; ++i)
            {
                matrix[row][i] -= share * matrix[column][i];
                result[row][i] -= share * result[column][i];
            }
        }
    }
    for (std::size_t row = 4; row-- > 0;)
    {
        for (std::size_t i = 0; i < 4; ++i)
        {
            for (std::size_t below = row + 1; below < 4; ++below)
            {
                result[row][i] -= matrix[row][below] * result[below][i];
            }
            result[row][i] /= matrix[row][row];
        }
    }
    return result;
}

bool endsWith(std::string const& text, std::string const& end)
{
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::array<float, 16> floats(Matrix const& matrix)
{
    std::array<float, 16> values{};
    for (std::size_t i = 0; i < values.size(); ++i)
    {
        values[i] = static_cast<float>(matrix[i / 4][i % 4]);
    }
    return values;
}

} // namespace

Cameras::Cameras(std::string const& path)
    : mPath(path)
{
    std::vector<char> const text = readFile(path);
    try
    {
        Json const data = Json::parse(text.begin(), text.end());
        if (data.contains("cam2img"))
        {
            mByFile[""] = matrixOf(data);
            return;
        }
        for (auto const& [name, entry] : data.at("cameras").items())
        {
            std::string file = entry.value("file", name);
            std::replace(file.begin(), file.end(), '\\', '/');
            mByFile["/" + file] = matrixOf(entry);
        }
    }
    catch (Json::exception const&)
    {
        throw Error(path + " holds no calibration; give JSON with \"cam2img\" or \"cameras\"");
    }
}

Matrix const& Cameras::of(std::string const& frame) const
{
    std::string const place = std::filesystem::absolute(frame).generic_string();
    Matrix const* found = nullptr;
    std::size_t longest = 0;
    for (auto const& [file, matrix] : mByFile)
    {
        if (endsWith(place, file) && (found == nullptr || file.size() > longest))
        {
            found = &matrix;
            longest = file.size();
        }
    }
    if (found == nullptr)
    {
        throw Error(mPath + " names no camera for " + frame + "; add its file");
    }
    return *found;
}

CameraInputs cameraInputs(Matrix const& cam2img, Warp const& warp)
{
    Matrix matrix = cam2img;
    for (std::size_t i = 0; i < 4; ++i)
    {
        matrix[0][i] = (matrix[0][i] - warp.corner.x * matrix[2][i]) * (1 / warp.stepX);
        matrix[1][i] = (matrix[1][i] - warp.corner.y * matrix[2][i]) * (1 / warp.stepY);
    }
    return {floats(matrix), floats(inverse(matrix))};
}

} // namespace lzu::sample
