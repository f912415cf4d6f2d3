// The one kind of error: a sentence that names the file or tensor and the remedy.
#pragma once

#include <stdexcept>
#include <string>

namespace lzu::sample
{

class Error : public std::runtime_error
{
public:
    using std::runtime_error::runtime_error;
};

} // namespace lzu::sample
